use std::time::{Duration, SystemTime};

use app_authz::Error;
use app_authz::credential::SessionToken;
use app_authz::token::LEEWAY;
use store::Store;

use super::AppService;
use super::sign_in::SignInCookie;

/// What became of a sealed session
pub(super) enum Opened {
    /// The session, and the cookie of the browser that it was sealed for
    Session(SessionToken, Option<SignInCookie>),
    /// This replica has opened the seal before
    Before,
    /// The browser shows another nonce than the one that it was sealed for
    Elsewhere,
    /// The browser shows no nonce at all; if `again`, not even at the second try
    WithoutNonce { again: bool },
}

impl<S: Store> AppService<S> {
    /// Opens a sealed session for a browser with these cookies
    ///
    /// A seal without a nonce opens in any browser: the dashboard makes such seals for visitors
    /// who did not come from an app's host of ours.
    ///
    /// # Errors
    ///
    /// Fails if the seal is not genuine or has expired, or if the keys cannot be fetched.
    pub(super) async fn open_seal(
        &self,
        sealed: &str,
        browser: impl Iterator<Item = SignInCookie> + Send,
        now: SystemTime,
    ) -> Result<Opened, Error> {
        let session = self.keys.seals.open(&*self.store, sealed, now, LEEWAY).await?;
        let cookie = match &session.nonce {
            None => None,
            Some(nonce) => {
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
}

/// Seals are valid from a minute before to a minute after they are made, and there is a leeway
///
/// Only genuine seals are remembered, so their number is that of recent sign-ins.
pub(super) const LIFETIME: Duration = Duration::from_secs(130);
