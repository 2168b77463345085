use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{AppToken, KeyRing, SignedToken, SigningKey, TokenError, compact};
use crate::Error;
use crate::app::AccessMethod;

impl<K: SigningKey> KeyRing<K> {
    /// Signs the same token again, for another base path of the same path app
    ///
    /// Servers read the base path out of a path in different ways, and compare what they read
    /// byte by byte. The new token opens nothing that the old one does not open: all other claims
    /// stay as they are, those of other servers too, and so does its end.
    ///
    /// # Errors
    ///
    /// The first [`TokenError`] of the old token, which has to be a path app's and good at `now`,
    /// as [`Error::InvalidToken`]. [`Error::NoSigningKey`] if no key may sign at `now`.
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
        let place = claims.pointer_mut("/request/base_path").ok_or(TokenError::Claims)?;
        *place = Value::from(base_path);
        let payload = serde_json::to_vec(&claims).map_err(|_| Error::SigningFailed)?;
        let (sequence, key) = self.signing(now)?;
        let request = verified.request.with_base_path(base_path);
        SignedToken::new(key, &payload, AppToken { request, key: sequence, ..verified })
    }
}
