//! The control plane as the one that carries allowed visits to their apps
//!
//! Its own handler lets a request through without a question to its database if a good app
//! token comes with it in a cookie, and if the token was issued for exactly the request that the
//! handler reads out of host and path. So what is signed here are the names as it reads them.

use std::sync::LazyLock;

use app_authz::app::AccessMethod;
use app_authz::credential::CookieNames;
use http::header::{HeaderMap, HeaderValue};

use super::Visit;
use super::cookies::visible;

/// What a proxy carries allowed visits to
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Upstream {
    /// A server that reaches agents; a header names the one to reach
    Apps,
    /// The control plane, which finds the agent in the app token
    ControlPlane,
}

/// The cookies of a visit that the control plane carries: the app's own and the app token
///
/// All others of ours are left out, under every prefix, since the control plane tries four
/// cookies of the token's name at most, and must not find a session.
pub(crate) fn cookies(headers: &HeaderMap, names: &CookieNames, token: &str) -> HeaderValue {
    let signed = format!("{}={token}", PLAIN.signed_app_token());
    let is_withheld = |name: &str| {
        let prefix = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix));
        names.is_withheld(name) || PLAIN.is_withheld(prefix.unwrap_or(name))
    };
    let own = visible(headers, is_withheld);
    let all: Vec<&[u8]> = std::iter::once(signed.as_bytes()).chain(own).collect();
    // The token is of letters, digits and points, and the others stood in a header before.
    HeaderValue::from_bytes(&all.join(&b"; "[..])).unwrap_or(HeaderValue::from_static(""))
}

/// The base path of a path app's request, where the control plane carries it and reads it itself
pub(super) fn base_path(visit: &Visit<'_>, upstream: Upstream) -> Option<String> {
    let is_read = upstream == Upstream::ControlPlane && visit.method == AccessMethod::Path;
    is_read.then(|| read_base_path(visit.path, visit.app_path))
}

/// The base path that the control plane reads out of a path
///
/// `path` is the raw path and `app_path` the part of it that is behind the app's folder.
///
/// It takes the part that its router matched off the end of the decoded path. The router
/// matches the decoded path, or the raw one where the standard library of Go keeps that: where
/// it would encode the decoded path in another way. A raw part with escapes is not the end of the
/// decoded path, and then the base path is all of it.
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

/// The text with its escapes decoded; what is not an escape stays, as does what is not UTF-8 by a
/// replacement
fn decode(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let escape = behind.get(..2).filter(|_| *first == b'%');
        let escape = escape.and_then(|digits| std::str::from_utf8(digits).ok());
        let escape = escape.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The path as the standard library of Go encodes it (`net/url`, `URL.EscapedPath`)
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

/// The names without a prefix, which are the only ones that the control plane knows for app
/// tokens
static PLAIN: LazyLock<CookieNames> = LazyLock::new(|| CookieNames::new("", None));

/// The prefixes that browsers know (draft-ietf-httpbis-rfc6265bis, section 4.1.3)
const PREFIXES: [&str; 2] = ["__Host-", "__Secure-"];

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
            // Go writes an escaped space in the same way, so its router matches what is decoded.
            ("/@alice/dev/apps/x/a%20b", "/a%20b", x),
            ("/@alice/dev/apps/x/%E2%82%AC", "/%E2%82%AC", x),
            // These it would write in another way, but the raw part is an end of the path.
            ("/@alice/dev/apps/x/a(1)", "/a(1)", x),
            ("/@alice/dev/apps/x/\u{20ac}", "/\u{20ac}", x),
            ("/%40alice/dev/apps/x/", "/", x),
            ("/%40alice/dev/apps/x/a/b", "/a/b", x),
            ("/@alice/dev.main/apps/x/", "/", "/@alice/dev.main/apps/x/"),
            // And here it is not.
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
    fn what_is_no_escape_stays() {
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
    fn the_token_is_the_only_cookie_of_ours() {
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
        let told = cookies(&headers, &names, "a.b.c");
        let told: Vec<&str> = told.to_str().unwrap().split("; ").collect();
        assert_eq!(told[0], "coder_signed_app_token=a.b.c");
        assert_eq!(told.len(), 1 + 3 * ours.len());
        assert!(told[1..].iter().all(|pair| pair.starts_with("own") && pair.ends_with("=app")));
    }
}
