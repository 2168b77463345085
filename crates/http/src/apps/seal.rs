use std::time::SystemTime;

use app_authz::Error;
use app_authz::credential::SessionToken;
use app_authz::token::LEEWAY;

use super::sign_in::SignInCookie;
use super::{AppService, Visit};
use crate::ports::AppPorts;

/// What became of a sealed session
pub(super) enum Opened {
    /// The session, and the cookie of the browser that it was sealed for, if it was for a browser
    Session(SessionToken, Option<SignInCookie>),
    /// This replica has opened the seal before
    Before,
    /// It was sealed for another host, or the browser shows another nonce than that of the seal
    Elsewhere,
    /// The seal does not say for which host and which browser it is
    Unbound,
    /// The browser shows no nonce at all; if `again`, not even at the second try
    WithoutNonce { again: bool },
}

impl<S: AppPorts> AppService<S> {
    /// Opens a session that was sealed for this host and for a browser with these cookies
    ///
    /// One that was sealed for a program opens for a client that `is_program`.
    ///
    /// # Errors
    ///
    /// Fails if the seal is not genuine or has expired, or if the keys cannot be fetched.
    pub(super) async fn open_seal(
        &self,
        (sealed, host): (&str, &str),
        is_program: bool,
        browser: impl Iterator<Item = SignInCookie> + Send,
        now: SystemTime,
    ) -> Result<Opened, Error> {
        let session = self.keys.seals.open(&*self.store, sealed, now, LEEWAY).await?;
        if session.host.is_some() && !session.is_for_host(host) {
            return Ok(Opened::Elsewhere);
        }
        let cookie = match (&session.nonce, &session.host) {
            (None, Some(_)) if session.is_for_program && is_program => None,
            (None, _) | (_, None) => return Ok(Opened::Unbound),
            (Some(nonce), Some(_)) => {
                let mut browser = browser.peekable();
                if browser.peek().is_none() {
                    return Ok(Opened::WithoutNonce { again: nonce.is_again() });
                }
                let Some(cookie) = browser.find(|cookie| cookie.nonce.has_value_of(nonce)) else {
                    return Ok(Opened::Elsewhere);
                };
                Some(cookie)
            }
        };
        Ok(match self.opened_seals.insert(sealed, now) {
            true => Opened::Session(session.token, cookie),
            false => Opened::Before,
        })
    }

    /// Seals the session that a host of apps gives to a browser, for its cookie
    ///
    /// A page of the app can obtain the seal that brings a session, for example with a service
    /// worker, and open it with a nonce of its own. So the cookie is good on this host alone.
    pub(super) async fn seal_cookie(
        &self,
        session: (&SessionToken, &str),
        now: SystemTime,
    ) -> Result<String, Error> {
        self.keys.seals.seal_cookie(&*self.store, session, now).await
    }

    /// The sessions that [`seal_cookie`](Self::seal_cookie) has sealed for the host of the visit, in
    /// the order of their cookies
    ///
    /// Tries at most [`MAX_COOKIES`]. What is not a session for this host is left out.
    ///
    /// # Errors
    ///
    /// Fails if the keys cannot be fetched.
    pub(super) async fn open_cookies(
        &self,
        cookies: &[(&str, &str)],
        visit: &Visit<'_>,
        now: SystemTime,
    ) -> Result<Vec<SessionToken>, Error> {
        let mut sessions = Vec::new();
        let Some(name) = visit.deployment.cookie_names.host_app_session(visit.method) else {
            return Ok(sessions);
        };
        let at = visit.at();
        let values = cookies.iter().filter(|(known, _)| *known == name).map(|(_, value)| *value);
        for value in values.take(MAX_COOKIES) {
            match self.keys.seals.open_cookie(&*self.store, (value, at.host()), now, LEEWAY).await {
                Ok(session) => sessions.push(session),
                Err(error @ Error::KeysUnavailable(_)) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(sessions)
    }
}

/// A browser has one cookie of a name that is bound to its host
const MAX_COOKIES: usize = 4;
