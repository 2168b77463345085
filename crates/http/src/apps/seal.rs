use std::sync::Arc;
use std::time::{Duration, SystemTime};

use app_authz::Error;
use app_authz::credential::SessionToken;
use app_authz::token::LEEWAY;
use tokio::time::timeout;
use tracing::warn;

use super::sign_in::SignInCookie;
use super::{AppService, Visit};
use crate::detach::DetachOnDrop;
use crate::error::chain;
use crate::ports::AppPorts;

/// What became of a sealed session
pub(super) enum Opened {
    /// The session, and the cookie of the browser that it was sealed for, if it was for a browser
    Session(SessionToken, Option<SignInCookie>),
    /// It was opened before, or the session in it has ended
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
        // What this replica has opened costs no statement.
        let is_first =
            self.opened_seals.insert(sealed, now) && self.give(&session.token, now).await;
        Ok(if is_first { Opened::Session(session.token, cookie) } else { Opened::Before })
    }

    /// Whether no replica has given the session to its browser yet
    ///
    /// Without an answer of the store, this replica gives what it has not given itself: the seal is
    /// good for a minute, on one host, and in one browser unless it is for a program.
    async fn give(&self, session: &SessionToken, now: SystemTime) -> bool {
        let (store, id) = (Arc::clone(&self.store), session.id().to_owned());
        // The statement keeps its connection until it ends, also if it ends late.
        let given = DetachOnDrop::new(async move { store.give(&id, now).await });
        let error = match timeout(LONGEST_GIVE, given).await {
            Ok(Ok(is_first)) => return is_first,
            Ok(Err(error)) => chain(&error),
            Err(_) => "no answer in time".to_owned(),
        };
        warn!(key = session.id(), error, "a seal was opened that another replica may have opened");
        true
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

/// How long a browser waits for the store when it arrives with a seal
const LONGEST_GIVE: Duration = Duration::from_secs(2);

/// A browser has one cookie of a name that is bound to its host
const MAX_COOKIES: usize = 4;
