use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::claims::{AppClaims, Times, numeric_date};
use super::{AppToken, KeyRing, SigningKey, compact};
use crate::Error;
use crate::app::{AccessMethod, Permit};

impl<K: SigningKey> KeyRing<K> {
    /// Signs a permit, for [`TOKEN_LIFETIME`] from `now`
    ///
    /// No permit, no token:
    ///
    /// ```compile_fail
    /// # use app_authz::token::{Hs512Key, KeyRing, SignedToken};
    /// fn sign(keys: &KeyRing<Hs512Key>, target: &app_authz::Target<'_>) -> SignedToken {
    ///     keys.sign(target, std::time::SystemTime::UNIX_EPOCH).unwrap()
    /// }
    /// ```
    ///
    /// The token is a JWS (RFC 7515) in compact form under the key's algorithm, and `kid`
    /// is the sequence of the key.
    ///
    /// # Errors
    ///
    /// [`Error::NoSigningKey`] if no key may sign at `now`.
    pub fn sign(&self, permit: &Permit<'_>, now: SystemTime) -> Result<SignedToken, Error> {
        let (sequence, key) = self.signing(now)?;
        let target = permit.target();
        let request = target.request;
        let is_named =
            request.method() != AccessMethod::Subdomain || !request.signed_agent().is_empty();
        let token = AppToken {
            request: request.to_signed(),
            grant: permit.grant(),
            agent_name: (!is_named).then(|| target.agent.name.clone()),
            times: Times { exp: numeric_date(now + TOKEN_LIFETIME), nbf: None, iat: None },
            key: sequence,
        };
        let mut payload = Vec::with_capacity(USUAL_LEN);
        serde_json::to_writer(&mut payload, &AppClaims::of(&token))
            .map_err(|_| Error::SigningFailed)?;
        SignedToken::new(key, &payload, token)
    }
}

/// A signed app token: whoever bears it may open the app, until it ends
///
/// `Debug` prints nothing of it, and there is no `Display`.
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
        // Four characters for three bytes; header and signature are of one length each.
        let mut text = String::with_capacity(payload.len() / 3 * 4 + FRAME_LEN);
        text.push_str(key.header());
        text.push('.');
        compact::encode_to(payload, &mut text);
        let signature = key.sign(text.as_bytes())?;
        text.push('.');
        compact::encode_to(&signature, &mut text);
        Ok(Self { text, token: Arc::new(token) })
    }

    /// The token itself, for the visitor and nobody else
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// When it ends, leeway aside
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.token.expires_at()
    }

    /// What the text proves: the token that verifying it would answer
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

/// Room for the claims of most tokens
const USUAL_LEN: usize = 768;

/// Room for what a token has beside its claims: a header of some 40 characters, and a
/// signature of 86
const FRAME_LEN: usize = 160;

/// How long an app token is good
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(60);
