use super::{CookieNames, SessionToken};
use crate::Error;
use crate::app::AccessMethod;

/// What a request carries that may hold a session token
///
/// Cookies and query parameters are decoded pairs in the order of the request. The
/// texts are looked at here and nowhere else.
#[derive(Clone, Debug, Default)]
pub struct Carried<'a> {
    /// All cookies
    pub cookies: Vec<(&'a str, &'a str)>,
    /// All query parameters
    pub query: Vec<(&'a str, &'a str)>,
    /// The header `Coder-Session-Token`
    pub session_header: Option<&'a str>,
    /// The header `Authorization`
    pub authorization: Option<&'a str>,
}

impl<'a> Carried<'a> {
    /// The session token of a request to the control plane: the first that is there, in
    /// the order of [`Source`], is the one
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSessionToken`] if that one is none.
    pub fn session_token(
        &self,
        names: &CookieNames,
    ) -> Result<Option<(Source, SessionToken)>, Error> {
        let Some((source, text)) = self.texts(names, None).next() else { return Ok(None) };
        Ok(Some((source, text.parse()?)))
    }

    /// The session tokens of a request to an app, the most telling first
    ///
    /// The app's own cookie comes first. Texts that are no session tokens are passed
    /// over: an app may use `Authorization` for itself, and so may whoever calls it.
    /// There are at most [`MAX_TOKENS`], each once.
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

    /// Every text that is there, in the order of [`Source`]
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

/// Where in a request a session token was
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The cookie of the app's host or path
    AppCookie,
    /// The dashboard's cookie
    SessionCookie,
    /// The query parameter `coder_session_token`
    SessionParameter,
    /// The header `Coder-Session-Token`
    SessionHeader,
    /// The header `Authorization`, as a bearer
    Bearer,
    /// The query parameter `access_token`
    AccessTokenParameter,
}

/// The text behind the scheme, which has no case
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case("Bearer ").then_some(token)
}

/// The most tokens of one request that are tried
pub const MAX_TOKENS: usize = 8;

const SESSION_PARAMETER: &str = "coder_session_token";
const ACCESS_TOKEN_PARAMETER: &str = "access_token";
