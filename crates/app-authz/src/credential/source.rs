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
    /// The session token of a request to the control plane, if the request has one
    ///
    /// Only the first text in the order of [`Source`] counts.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSessionToken`] if that text is not a session token.
    pub fn session_token(
        &self,
        names: &CookieNames,
    ) -> Result<Option<(Source, SessionToken)>, Error> {
        let Some((source, text)) = self.texts(names, None).next() else { return Ok(None) };
        Ok(Some((source, text.parse()?)))
    }

    /// The session tokens of a request to an app, in the order of [`Source`]
    ///
    /// Texts that are not session tokens are skipped: an app and its clients may use
    /// `Authorization` for themselves. Returns at most [`MAX_TOKENS`] tokens, each once.
    #[must_use]
    pub fn app_session_tokens(
        &self,
        names: &CookieNames,
        method: AccessMethod,
    ) -> Vec<(Source, SessionToken)> {
        let mut tokens: Vec<(Source, SessionToken)> = Vec::new();
        for (source, text) in self.texts(names, Some(method)) {
            let Ok(token) = text.parse::<SessionToken>() else { continue };
            if tokens.len() == MAX_TOKENS {
                break;
            }
            if tokens.iter().all(|(_, known)| *known != token) {
                tokens.push((source, token));
            }
        }
        tokens
    }

    /// All texts that may be session tokens, in the order of [`Source`]
    fn texts<'s>(
        &'s self,
        names: &'s CookieNames,
        app: Option<AccessMethod>,
    ) -> impl Iterator<Item = (Source, &'a str)> + 's {
        let app_cookies = self
            .cookies
            .iter()
            .filter(move |(name, _)| app.is_some_and(|method| names.is_app_session(name, method)));
        let named = |wanted: &'s str| self.cookies.iter().filter(move |(name, _)| *name == wanted);
        let session_cookies = named(names.host_session()).chain(named(names.session()));
        let parameter = |wanted: &'static str| {
            self.query.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| *value)
        };
        let of = |source| move |text| (source, text);

        app_cookies
            .map(|(_, value)| (Source::AppCookie, *value))
            .chain(session_cookies.map(|(_, value)| (Source::SessionCookie, *value)))
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

/// The text after the scheme `Bearer`, which is compared without case
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case("Bearer ").then_some(token)
}

/// The maximum number of session tokens of one request that are tried
pub const MAX_TOKENS: usize = 8;

const SESSION_PARAMETER: &str = "coder_session_token";
const ACCESS_TOKEN_PARAMETER: &str = "access_token";
