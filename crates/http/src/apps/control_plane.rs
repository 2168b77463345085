//! The control plane as the upstream that carries admitted visits to their apps
//!
//! Its own handler admits a request without a database query if a cookie contains a good app
//! token. The token must be for exactly the request that the handler reads from host and path, so
//! the names are signed here as the handler reads them.

use std::sync::LazyLock;

use app_authz::app::AccessMethod;
use app_authz::credential::CookieNames;
use http::header::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;

use super::Visit;
use super::cookies::visible;

/// The server to which a proxy carries admitted visits
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Upstream {
    /// A server that reaches agents; a header names the agent
    Apps,
    /// The control plane, which reads the agent from the app token
    ControlPlane,
}

/// The cookies of a visit that the control plane carries: the app's own and the app token
///
/// Other cookies of authd and the control plane are left out, under every prefix: the control
/// plane tries at most four cookies of the token's name, and must not find a session.
pub(crate) fn cookies(headers: &HeaderMap, names: &CookieNames, token: &str) -> HeaderValue {
    let signed = format!("{}={token}", PLAIN.signed_app_token(AccessMethod::Path));
    let own = visible(headers, names);
    let all: Vec<&[u8]> = std::iter::once(signed.as_bytes()).chain(own).collect();
    // The token consists of letters, digits and dots, and the other cookies were in a header.
    HeaderValue::from_bytes(&all.join(&b"; "[..])).unwrap_or(HeaderValue::from_static(""))
}

/// Whether the control plane carries the visit and reads other names from its path than authd
///
/// Its router matches the raw path of such an address, and does not decode the names. It would not
/// find them, and must not find others.
pub(super) fn reads_other_names(visit: &Visit<'_>, upstream: Upstream) -> bool {
    upstream == Upstream::ControlPlane
        && visit.method == AccessMethod::Path
        && has_raw_names(visit.path, visit.folder())
}

/// Whether the control plane reads escaped names in the folder of a path without decoding them
fn has_raw_names(path: &str, folder: &str) -> bool {
    // Its routes have both spellings of `@`.
    let names = folder.strip_prefix("/%40").unwrap_or(folder);
    names.contains('%') && encode(&decode(path)) != path
}

/// The base path of a path app's request, if the control plane carries the visit and reads it
pub(super) fn base_path(visit: &Visit<'_>, upstream: Upstream) -> Option<String> {
    let is_read = upstream == Upstream::ControlPlane && visit.method == AccessMethod::Path;
    is_read.then(|| read_base_path(visit.path, visit.app_path))
}

/// The base path that the control plane reads from a path
///
/// `path` is the raw path, and `app_path` its part after the app's folder.
///
/// The control plane removes the part that its router matched from the end of the decoded path.
/// Its router matches the decoded path. It matches the raw path instead if Go's standard library
/// keeps one, which happens if encoding the decoded path would give a different text. A raw part
/// with escapes is not a suffix of the decoded path, and then the base path is the whole path.
fn read_base_path(path: &str, app_path: &str) -> String {
    let folder = path.strip_suffix(app_path).unwrap_or(path);
    let below = app_path.strip_prefix('/').unwrap_or(app_path);
    let decoded = decode(path);
    let matched_raw = encode(&decoded) != path;
    let mut base = match matched_raw {
        true => decoded.strip_suffix(below).unwrap_or(&decoded).to_owned(),
        false => decode(folder),
    };
    if !base.ends_with('/') {
        base.push('/');
    }
    base
}

/// Decodes the escapes of a text
///
/// Anything that is not a valid escape is kept. Bytes that are not UTF-8 become U+FFFD.
fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Encodes a path as Go's standard library does (`net/url`, `URL.EscapedPath`)
fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Cookie names without a prefix: the control plane finds app tokens under these only
static PLAIN: LazyLock<CookieNames> = LazyLock::new(|| CookieNames::new("", None));

#[cfg(test)]
mod tests {
    use http::header::COOKIE;

    use super::*;

    #[test]
    fn the_base_path_is_what_the_control_plane_reads() {
        let x = "/@alice/dev/apps/x/";
        for (path, app_path, expected) in [
            ("/@alice/dev/apps/x/", "/", x),
            ("/@alice/dev/apps/x/a/b", "/a/b", x),
            ("/@alice/dev/apps/x/a//b/", "/a//b/", x),
            ("/@alice/dev/apps/x/..", "/..", x),
            // Go encodes a space in the same way, so its router matches the decoded path.
            ("/@alice/dev/apps/x/a%20b", "/a%20b", x),
            ("/@alice/dev/apps/x/%E2%82%AC", "/%E2%82%AC", x),
            // Go would encode these differently, but the raw part is a suffix of the decoded path.
            ("/@alice/dev/apps/x/a(1)", "/a(1)", x),
            ("/@alice/dev/apps/x/\u{20ac}", "/\u{20ac}", x),
            ("/%40alice/dev/apps/x/", "/", x),
            ("/%40alice/dev/apps/x/a/b", "/a/b", x),
            ("/@alice/dev.main/apps/x/", "/", "/@alice/dev.main/apps/x/"),
            // Here the raw part is not a suffix of the decoded path.
            ("/@alice/dev/apps/x/a%2Fb", "/a%2Fb", "/@alice/dev/apps/x/a/b/"),
            ("/@alice/dev/apps/x/a%20(1)", "/a%20(1)", "/@alice/dev/apps/x/a (1)/"),
            ("/@alice/dev/apps/x/a%2fb/", "/a%2fb/", "/@alice/dev/apps/x/a/b/"),
            ("/@alice/dev/apps/x/%2e%2e", "/%2e%2e", "/@alice/dev/apps/x/../"),
            ("/%40alice/dev/apps/x/a%20b", "/a%20b", "/@alice/dev/apps/x/a b/"),
        ] {
            assert_eq!(read_base_path(path, app_path), expected, "{path}");
        }
    }

    #[test]
    fn names_are_read_raw_if_go_would_encode_the_path_differently() {
        for (path, folder, expected) in [
            ("/@alice/dev/apps/x/", "/@alice/dev/apps/x", false),
            ("/@alice/dev/apps/x/a%2Fb", "/@alice/dev/apps/x", false),
            ("/%40alice/dev/apps/x/", "/%40alice/dev/apps/x", false),
            ("/@alice/dev/apps/Code%20Server/", "/@alice/dev/apps/Code%20Server", false),
            ("/@alice/dev/apps/Code%20Server/a%2Fb", "/@alice/dev/apps/Code%20Server", true),
            ("/%40alice/dev/apps/Code%20Server/", "/%40alice/dev/apps/Code%20Server", true),
            ("/@%61lice/dev/apps/x/", "/@%61lice/dev/apps/x", true),
            ("/@alice/dev%2Emain/apps/x/", "/@alice/dev%2Emain/apps/x", true),
        ] {
            assert_eq!(has_raw_names(path, folder), expected, "{path}");
        }
    }

    #[test]
    fn text_that_is_not_an_escape_is_kept() {
        for (text, decoded) in [
            ("%", "%"),
            ("a%2", "a%2"),
            ("%+1", "%+1"),
            ("%zz%41", "%zzA"),
            ("%e2%82%ac", "\u{20ac}"),
        ] {
            assert_eq!(decode(text), decoded);
        }
    }

    #[test]
    fn only_the_app_token_and_the_apps_own_cookies_are_sent() {
        let names = CookieNames::new("__Secure-", Some(&"*.apps.example.com".parse().unwrap()));
        let mut headers = HeaderMap::new();
        let ours = [
            "coder_session_token",
            "coder_path_app_session_token",
            "coder_subdomain_app_session_token",
            "coder_subdomain_app_session_token_0011",
            "coder_signed_app_token",
            "oauth_state",
        ];
        for prefix in ["", "__Secure-", "__Host-"] {
            for name in ours {
                let line = format!("{prefix}{name}=ours;{prefix}{name}; own{prefix}{name}=app");
                headers.append(COOKIE, HeaderValue::from_str(&line).unwrap());
            }
        }
        let header = cookies(&headers, &names, "a.b.c");
        let pairs: Vec<&str> = header.to_str().unwrap().split("; ").collect();
        assert_eq!(pairs[0], "coder_signed_app_token=a.b.c");
        assert_eq!(pairs.len(), 1 + 3 * ours.len());
        assert!(pairs[1..].iter().all(|pair| pair.starts_with("own") && pair.ends_with("=app")));
    }
}
