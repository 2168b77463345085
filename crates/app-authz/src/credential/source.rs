use super::{CookieNames, SessionToken};
use crate::Error;
use crate::app::AccessMethod;

/// The parts of a request that may carry a session token
///
/// Cookies and query parameters are decoded pairs in the order of the request.
#[derive(Clone, Debug, Default)]
pub struct Carried<'a> {
    /// All cookies, as name and value
    pub cookies: Vec<(&'a str, &'a str)>,
    /// All query parameters, as name and value
    pub query: Vec<(&'a str, &'a str)>,
    /// The header `Coder-Session-Token`
    pub session_header: Option<&'a str>,
    /// The header `Authorization`
    pub authorization: Option<&'a str>,
}

impl<'a> Carried<'a> {
    /// The session tokens of a request to the control plane, in the order of [`Source`]
    ///
    /// Only the first source that has a text counts, and all cookies count as one source: a
    /// sibling host may have set a cookie before the user's own. Returns at most [`MAX_TOKENS`]
    /// tokens, each once; none if the request has no text.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSessionToken`] if no text of that source is a session token.
    pub fn session_tokens(
        &self,
        names: &CookieNames,
    ) -> Result<Vec<(Source, SessionToken)>, Error> {
        let mut texts = self.texts(names, None).peekable();
        let Some((first, text)) = texts.peek().copied() else { return Ok(Vec::new()) };
        if !first.is_cookie() {
            return Ok(vec![(first, text.parse()?)]);
        }
        let tokens = distinct(texts.take_while(|(source, _)| source.is_cookie()));
        if tokens.is_empty() { Err(Error::InvalidSessionToken) } else { Ok(tokens) }
    }

    /// The session tokens of a request to an app, in the order of [`Source`]
    ///
    /// Texts that are not session tokens are skipped: an app and its clients may use
    /// `Authorization` for themselves. Returns each token once, at most [`MAX_TOKENS`] of those
    /// that sibling hosts can set and as many others.
    #[must_use]
    pub fn app_session_tokens(
        &self,
        names: &CookieNames,
        method: AccessMethod,
    ) -> Vec<(Source, SessionToken)> {
        distinct(self.texts(names, Some(method)))
    }

    /// All texts that may be session tokens, in the order of [`Source`]
    fn texts<'s>(
        &'s self,
        names: &'s CookieNames,
        app: Option<AccessMethod>,
    ) -> impl Iterator<Item = (Source, &'a str)> + 's {
        let app_cookies = move |is_read: fn(&CookieNames, &str, AccessMethod) -> bool| {
            let is_read = move |name: &str| app.is_some_and(|method| is_read(names, name, method));
            self.cookies.iter().filter(move |(name, _)| is_read(name)).map(|(_, value)| *value)
        };
        let named = |wanted: &'s str| {
            self.cookies.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| *value)
        };
        let parameter = |wanted: &'static str| {
            self.query.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| *value)
        };
        let of = |source| move |text| (source, text);

        app_cookies(CookieNames::is_host_app_session)
            .map(of(Source::HostAppCookie))
            .chain(named(names.host_session()).map(of(Source::HostSessionCookie)))
            .chain(app_cookies(CookieNames::is_app_session).map(of(Source::AppCookie)))
            .chain(named(names.session()).map(of(Source::SessionCookie)))
            .chain(parameter(SESSION_PARAMETER).map(of(Source::SessionParameter)))
            .chain(self.session_header.map(of(Source::SessionHeader)))
            .chain(self.authorization.and_then(bearer).map(of(Source::Bearer)))
            .chain(parameter(ACCESS_TOKEN_PARAMETER).map(of(Source::AccessTokenParameter)))
            .filter(|(_, text)| !text.is_empty())
    }
}

/// The part of a request that carried a session token, in order of precedence
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The session cookie of apps, by host or by path, that only the requested host can have set
    HostAppCookie,
    /// The session cookie of the dashboard that only the requested host can have set
    HostSessionCookie,
    /// The session cookie of apps, by host or by path
    AppCookie,
    /// The session cookie of the dashboard
    SessionCookie,
    /// The query parameter `coder_session_token`
    SessionParameter,
    /// The header `Coder-Session-Token`
    SessionHeader,
    /// The header `Authorization` with the scheme `Bearer`
    Bearer,
    /// The query parameter `access_token`
    AccessTokenParameter,
}

impl Source {
    /// Whether a browser sends the token along without its user's will
    #[must_use]
    pub const fn is_cookie(self) -> bool {
        matches!(self, Self::HostAppCookie | Self::HostSessionCookie) || self.is_shared()
    }

    /// Whether a link can contain the token, and so one of another user
    #[must_use]
    pub const fn is_parameter(self) -> bool {
        matches!(self, Self::SessionParameter | Self::AccessTokenParameter)
    }

    /// Whether no link and no page can make a browser send the token
    #[must_use]
    pub const fn is_header(self) -> bool {
        matches!(self, Self::SessionHeader | Self::Bearer)
    }

    /// Whether other hosts of the same site can set the token in a user's browser
    #[must_use]
    pub const fn is_shared(self) -> bool {
        matches!(self, Self::AppCookie | Self::SessionCookie)
    }
}

/// The texts that are session tokens, each once
fn distinct<'a>(texts: impl Iterator<Item = (Source, &'a str)>) -> Vec<(Source, SessionToken)> {
    let mut tokens: Vec<(Source, SessionToken)> = Vec::new();
    for (source, text) in texts {
        let Ok(token) = text.parse::<SessionToken>() else { continue };
        let alike = tokens.iter().filter(|(known, _)| known.is_shared() == source.is_shared());
        if alike.count() < MAX_TOKENS && tokens.iter().all(|(_, known)| *known != token) {
            tokens.push((source, token));
        }
    }
    tokens
}

/// The text after the scheme `Bearer`, which is compared without case
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case("Bearer ").then_some(token)
}

/// The maximum number of session tokens of one request that are tried, of those that sibling hosts
/// can set and of the others
pub const MAX_TOKENS: usize = 32;

const SESSION_PARAMETER: &str = "coder_session_token";
const ACCESS_TOKEN_PARAMETER: &str = "access_token";
