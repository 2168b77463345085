use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::claims::{AppClaims, Times, is_session_id, numeric_date};
use super::{AppToken, KeyRing, SigningKey, compact};
use crate::Error;
use crate::app::{AccessMethod, Permit};

impl<K: SigningKey> KeyRing<K> {
    /// Signs a permit as a token that expires [`TOKEN_LIFETIME`] after `now`, and that does not
    /// name the visitor's session
    ///
    /// Otherwise as [`sign_with`](Self::sign_with).
    ///
    /// # Errors
    ///
    /// Those of [`sign_with`](Self::sign_with).
    pub fn sign(&self, permit: &Permit<'_>, now: SystemTime) -> Result<SignedToken, Error> {
        self.sign_with(permit, TokenOptions::default(), now)
    }

    /// Signs a permit as a token
    ///
    /// Only a permit can be signed:
    ///
    /// ```compile_fail
    /// # use app_authz::token::{Hs512Key, KeyRing, SignedToken};
    /// fn sign(keys: &KeyRing<Hs512Key>, target: &app_authz::Target<'_>) -> SignedToken {
    ///     keys.sign(target, std::time::SystemTime::UNIX_EPOCH).unwrap()
    /// }
    /// ```
    ///
    /// The token is a JWS (RFC 7515) in compact form with the key's algorithm. Its `kid` is the
    /// sequence of the key.
    ///
    /// # Errors
    ///
    /// [`Error::NoSigningKey`] if no key may sign at `now`.
    pub fn sign_with(
        &self,
        permit: &Permit<'_>,
        options: TokenOptions<'_>,
        now: SystemTime,
    ) -> Result<SignedToken, Error> {
        let (sequence, key) = self.signing(now)?;
        let target = permit.target();
        let request = target.request();
        let is_named =
            request.method() != AccessMethod::Subdomain || !request.signed_agent().is_empty();
        let token = AppToken {
            request: request.to_signed(),
            grant: permit.grant(),
            agent_name: (!is_named).then(|| target.agent().name.clone()),
            session: options.session.filter(|id| is_session_id(id)).map(Into::into),
            times: Times {
                exp: numeric_date(now + options.lifetime.min(TOKEN_LIFETIME)),
                nbf: None,
                iat: None,
            },
            key: sequence,
        };
        let mut payload = Vec::with_capacity(USUAL_LEN);
        serde_json::to_writer(&mut payload, &AppClaims::of(&token))
            .map_err(|_| Error::SigningFailed)?;
        SignedToken::new(key, &payload, token)
    }
}

/// How a permit is signed
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TokenOptions<'a> {
    /// How long the token is good: [`TOKEN_LIFETIME`] at most
    pub lifetime: Duration,
    /// The id of the key that the permit was decided for, so that a verifier can look up whether
    /// that session has ended; left out if it is not the id of a session token
    pub session: Option<&'a str>,
}

impl Default for TokenOptions<'_> {
    fn default() -> Self {
        Self { lifetime: TOKEN_LIFETIME, session: None }
    }
}

impl<'a> TokenOptions<'a> {
    /// The same options, for a token that is good for this long
    #[must_use]
    pub const fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// The same options, for a token that names this session
    #[must_use]
    pub fn session(mut self, session: impl Into<Option<&'a str>>) -> Self {
        self.session = session.into();
        self
    }
}

/// A signed app token: its bearer may open the app until it expires
///
/// `Debug` does not print the token, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedToken {
    text: String,
    token: Arc<AppToken>,
}

impl SignedToken {
    /// Signs `payload`, which holds the claims of `token`
    pub(super) fn new<K: SigningKey>(
        key: &K,
        payload: &[u8],
        token: AppToken,
    ) -> Result<Self, Error> {
        // Base64 has four characters for three bytes; header and signature have a fixed length.
        let mut text = String::with_capacity(payload.len() / 3 * 4 + FRAME_LEN);
        text.push_str(key.header());
        text.push('.');
        compact::encode_to(payload, &mut text);
        let signature = key.sign(text.as_bytes())?;
        text.push('.');
        compact::encode_to(&signature, &mut text);
        Ok(Self { text, token: Arc::new(token) })
    }

    /// The secret text of the token, only to give it to the visitor
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// When the token expires, not counting the leeway
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.token.expires_at()
    }

    /// What the text proves: the token that verifying the text returns
    #[must_use]
    pub const fn token(&self) -> &Arc<AppToken> {
        &self.token
    }
}

impl fmt::Debug for SignedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedToken(..)")
    }
}

/// The capacity in bytes for the claims of most tokens
const USUAL_LEN: usize = 768;

/// The capacity in bytes for the rest of a token: a header of about 40 characters and a
/// signature of 86
const FRAME_LEN: usize = 160;

/// The longest that an app token is good after it was signed
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(60);
