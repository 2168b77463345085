use std::fmt;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::claims::{AppClaims, instant, numeric_date};
use super::{KeyRing, SigningKey, compact};
use crate::{AccessMethod, Error, Permit};

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
        let (_, key) = self.signing(now)?;
        let target = permit.target();
        let exp = numeric_date(now + TOKEN_LIFETIME);
        let request = target.request;
        let is_named =
            request.method() != AccessMethod::Subdomain || !request.signed_agent().is_empty();
        let claims = AppClaims {
            exp,
            request,
            user_id: target.workspace.owner.0,
            workspace_id: target.workspace.id.0,
            agent_id: target.agent.id.0,
            agent_name: (!is_named).then_some(&target.agent.name),
            app_url: &target.url,
            cors_behavior: target.cors,
            visitor: permit.visitor().map_or(Uuid::nil(), |visitor| visitor.0),
        };
        let mut payload = Vec::with_capacity(USUAL_LEN);
        serde_json::to_writer(&mut payload, &claims).map_err(|_| Error::SigningFailed)?;
        SignedToken::new(key, &payload, instant(exp).unwrap_or(now))
    }
}

/// A signed app token: whoever bears it may open the app, until it ends
///
/// `Debug` prints nothing of it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedToken {
    text: String,
    expires_at: SystemTime,
}

impl SignedToken {
    /// Signs claims, which say themselves when the token ends
    pub(super) fn new<K: SigningKey>(
        key: &K,
        payload: &[u8],
        expires_at: SystemTime,
    ) -> Result<Self, Error> {
        // Four characters for three bytes; header and signature are of one length each.
        let mut text = String::with_capacity(payload.len() / 3 * 4 + FRAME_LEN);
        text.push_str(key.header());
        text.push('.');
        compact::encode_to(payload, &mut text);
        let signature = key.sign(text.as_bytes())?;
        text.push('.');
        compact::encode_to(&signature, &mut text);
        Ok(Self { text, expires_at })
    }

    /// The token itself, for the visitor and nobody else
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// When it ends, leeway aside
    #[must_use]
    pub const fn expires_at(&self) -> SystemTime {
        self.expires_at
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
