use std::borrow::Cow;

use super::{CookieNames, SessionToken};
use crate::percent::form_bytes;
use crate::token::{API_KEY_PARAMETER, SIGNED_TOKEN_PARAMETER};

/// What an app must not see of a visitor's request, and must not set in its answer
///
/// An app runs what its author wants, and the author need not be the visitor. With the visitor's
/// session the app could act as the visitor in every workspace. A server that carries visits to apps
/// leaves out everything that this type names, whatever the spelling.
///
/// ```
/// use app_authz::credential::{CookieNames, Withheld};
///
/// let names = CookieNames::new("", None).secure(true);
/// let withheld = Withheld::new(&names);
///
/// // `Cookie: theme=dark; coder_session_token=…`
/// let line = b"theme=dark; coder_session_token=0123456789-abcdefghijklmnopqrstuv";
/// let open: Vec<&[u8]> =
///     line.split(|byte| *byte == b';').filter(|pair| !withheld.cookie(pair)).collect();
/// assert_eq!(open, [&b"theme=dark"[..]]);
///
/// assert_eq!(Withheld::query("q=1&coder%5Fsession_token=x"), "q=1");
/// assert!(Withheld::header("X_Authd_User"));
/// assert!(Withheld::authorization(b"Bearer 0123456789-abcdefghijklmnopqrstuv"));
///
/// // `Set-Cookie` of an app: for its own host alone, and none of ours
/// let own = withheld.set_cookie(b"theme=dark; Domain=example.com; Path=/");
/// assert_eq!(own.unwrap().as_ref(), b"theme=dark; Path=/");
/// assert!(withheld.set_cookie(b"__Host-coder_session_token=x; Secure; Path=/").is_none());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Withheld<'a> {
    names: &'a CookieNames,
}

impl<'a> Withheld<'a> {
    /// What the apps of a deployment with these cookies must not see
    #[must_use]
    pub const fn new(names: &'a CookieNames) -> Self {
        Self { names }
    }

    /// Whether a cookie is withheld: `NAME=VALUE` or `NAME`, a part of a `Cookie` header between
    /// semicolons
    ///
    /// These are the session cookies of the control plane and of its apps, signed app tokens, and the
    /// cookies of a sign-in (`authd_sign_in`, `oauth_state`, `oauth_redirect`, and all that begin with
    /// `authd_oidc_`), under the prefix
    /// of the deployment, under none, and under the prefixes of browsers. Also the cookies for apps
    /// of other patterns, which browsers may send to this host as well.
    #[must_use]
    pub fn cookie(&self, pair: &[u8]) -> bool {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        self.names.is_withheld(String::from_utf8_lossy(name).trim())
    }

    /// Whether all headers of that name are withheld, whatever their value
    ///
    /// These are `Coder-Session-Token`, and the names that begin with `X-Authd-`: only authd may set
    /// them, and a visitor who sends one speaks for another. Case is ignored, and every byte that is
    /// not a letter or a digit counts as a hyphen: CGI and WSGI read `X_Authd_User` and `X-Authd-User`
    /// as the same variable.
    #[must_use]
    pub fn header(name: &str) -> bool {
        is_ours(name) || normalized(name).eq(SESSION_HEADER.bytes())
    }

    /// Whether some apps would take a header for another one that begins with `X-Authd-`
    ///
    /// Most proxies can only replace a header by its exact name, so a request with such a header is
    /// to be refused.
    #[must_use]
    pub fn is_imitation(name: &str) -> bool {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        is_ours(name) && !name.bytes().all(is_plain)
    }

    /// Whether the value of an `Authorization` header is withheld: it holds a session token, under
    /// any scheme
    ///
    /// Apps use the header for credentials of their own, which are passed on.
    #[must_use]
    pub fn authorization(value: &[u8]) -> bool {
        holds_session_token(value)
    }

    /// The query without the parameters that sign its visitor in
    ///
    /// The others stay exactly as they were written. `access_token` is left out only if its value
    /// holds a session token, since apps use the name too.
    #[must_use]
    pub fn query(query: &str) -> Cow<'_, str> {
        if query.is_empty() || !query.split('&').any(is_withheld_pair) {
            return Cow::Borrowed(query);
        }
        let open = query.split('&').filter(|pair| !is_withheld_pair(pair));
        Cow::Owned(open.collect::<Vec<_>>().join("&"))
    }

    /// Whether the query has a value that may sign its visitor in
    ///
    /// An empty parameter does not count.
    #[must_use]
    pub fn holds_token(query: &str) -> bool {
        let mut withheld = query.split('&').filter(|pair| is_withheld_pair(pair));
        withheld.any(|pair| pair.split_once('=').is_some_and(|(_, value)| !value.is_empty()))
    }

    /// Whether a parameter with that decoded name and value is withheld
    #[must_use]
    pub fn parameter(name: &str, value: &str) -> bool {
        PARAMETERS.contains(&name)
            || name == ACCESS_TOKEN_PARAMETER && holds_session_token(value.as_bytes())
    }

    /// The value of an app's `Set-Cookie` header that may reach the visitor
    ///
    /// Without the attribute `Domain`: a cookie of an app is for its own host alone, and other hosts
    /// are those of other apps and of the dashboard. `None` if the name begins like that of a
    /// cookie with a token, or with `authd_`, in any case and under any prefix of
    /// [`cookie`](Self::cookie), and for every other cookie that [`cookie`](Self::cookie) withholds:
    /// an app would never see it again, and on the host of the dashboard it would replace that of a
    /// sign-in.
    ///
    /// A server that carries an app on the host of the dashboard has to look at paths, too; that is
    /// not done here.
    #[must_use]
    pub fn set_cookie<'c>(&self, value: &'c [u8]) -> Option<Cow<'c, [u8]>> {
        // A browser trims the name. A cookie without a name is sent as its value alone.
        let is_skipped = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'=';
        let start = value.iter().position(|byte| !is_skipped(byte)).unwrap_or(value.len());
        let pair = value[start..].split(|byte| *byte == b';').next().unwrap_or_default();
        if self.names.is_of_ours(pair) || self.cookie(pair) {
            return None;
        }
        let mut parts = value.split(|byte| *byte == b';');
        let mut own = parts.next().unwrap_or_default().to_vec();
        for part in parts.filter(|part| !is_domain(part)) {
            own.push(b';');
            own.extend(part);
        }
        Some(if own.len() == value.len() { Cow::Borrowed(value) } else { Cow::Owned(own) })
    }
}

/// Whether an attribute of a cookie is `Domain`
fn is_domain(attribute: &[u8]) -> bool {
    let name = attribute.split(|byte| *byte == b'=').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(b"domain")
}

/// Whether a name begins with that of the headers that only authd may set
fn is_ours(name: &str) -> bool {
    let mut written = normalized(name);
    OUR_HEADERS.bytes().all(|byte| written.next() == Some(byte))
}

/// The bytes of a header's name as the apps compare them that replace the most
fn normalized(name: &str) -> impl Iterator<Item = u8> {
    let replaced = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'-' };
    name.bytes().map(move |byte| replaced(byte).to_ascii_lowercase())
}

/// Whether a part of a query, as it is written, is a parameter that an app must not see
fn is_withheld_pair(pair: &str) -> bool {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let is = |known: &str| form_bytes(name).eq(known.bytes());
    PARAMETERS.into_iter().any(is)
        || is(ACCESS_TOKEN_PARAMETER)
            && holds_session_token(&form_bytes(value).collect::<Vec<u8>>())
}

/// Whether a part of the text is a session token
///
/// Parts end where no credential has a byte: at white space, quotes, commas, semicolons, colons,
/// equals signs and brackets. A dot or an underscore does not end one, since a signed token of an app
/// has some at random, and with them a part that looks like a session token.
fn holds_session_token(text: &[u8]) -> bool {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b"\"',;:=()<>[]{}".contains(byte);
    let parts = text.split(ends).filter_map(|part| std::str::from_utf8(part).ok());
    parts.into_iter().any(|part| part.parse::<SessionToken>().is_ok())
}

const SESSION_HEADER: &str = "coder-session-token";
const OUR_HEADERS: &str = "x-authd-";
const ACCESS_TOKEN_PARAMETER: &str = "access_token";

/// The parameters that are withheld whatever their value
const PARAMETERS: [&str; 3] = ["coder_session_token", SIGNED_TOKEN_PARAMETER, API_KEY_PARAMETER];
