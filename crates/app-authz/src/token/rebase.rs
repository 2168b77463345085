use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{AppToken, KeyRing, SignedToken, SigningKey, TokenError, compact};
use crate::Error;
use crate::app::AccessMethod;

impl<K: SigningKey> KeyRing<K> {
    /// Signs a token again for another base path of the same path app
    ///
    /// Servers read the base path from a path in different ways, and compare it byte by byte.
    /// The new token does not open anything that the old one does not: the other claims stay
    /// the same, including the expiry and claims of other servers.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidToken`] if the old token is not good at `now` or not for a path app, and
    /// [`Error::NoSigningKey`] if no key may sign at `now`.
    pub fn rebase(
        &self,
        token: &str,
        base_path: &str,
        now: SystemTime,
        leeway: Duration,
    ) -> Result<SignedToken, Error> {
        let verified = self.verify(token, now, leeway)?;
        if verified.request().method() != AccessMethod::Path {
            return Err(TokenError::Claims.into());
        }
        let [_, payload, _] = compact::parts(token)?;
        let mut claims: Value =
            serde_json::from_slice(&compact::decode(payload)?).map_err(|_| TokenError::Claims)?;
        let claim = claims.pointer_mut("/request/base_path").ok_or(TokenError::Claims)?;
        *claim = Value::from(base_path);
        let payload = serde_json::to_vec(&claims).map_err(|_| Error::SigningFailed)?;
        let (sequence, key) = self.signing(now)?;
        let request = verified.request.with_base_path(base_path);
        SignedToken::new(key, &payload, AppToken { request, key: sequence, ..verified })
    }
}
