use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use app_authz::Error;
use app_authz::credential::SessionToken;
use app_authz::token::LEEWAY;
use ring::digest::{SHA256, digest};
use store::Store;

use super::AppService;

/// The digests of the seals that this replica has opened
///
/// Replicas do not share them, so each opens a seal at most once.
#[derive(Debug, Default)]
pub(crate) struct Seals(Mutex<HashMap<[u8; 32], SystemTime>>);

impl Seals {
    /// Whether this seal has not been opened before
    ///
    /// Called only for genuine seals. A digest is kept as long as its seal may be valid, so the
    /// number of digests is that of recent sign-ins.
    fn is_first(&self, sealed: &str, now: SystemTime) -> bool {
        let mut digest_bytes = [0; 32];
        digest_bytes.copy_from_slice(digest(&SHA256, sealed.as_bytes()).as_ref());
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= SWEEP {
            seen.retain(|_, since| now.duration_since(*since).is_ok_and(|age| age < LIFETIME));
        }
        seen.insert(digest_bytes, now).is_none()
    }
}

impl<S: Store> AppService<S> {
    /// The session token in a seal; `None` if this replica has opened the seal before
    ///
    /// # Errors
    ///
    /// Fails if the seal is not genuine or has expired, or if the keys cannot be fetched.
    pub(super) async fn open_seal(
        &self,
        sealed: &str,
        now: SystemTime,
    ) -> Result<Option<SessionToken>, Error> {
        let token = self.keys.seals.open(&*self.store, sealed, now, LEEWAY).await?;
        Ok(self.seals.is_first(sealed, now).then_some(token))
    }
}

/// Seals are valid from a minute before to a minute after they are made, and there is a leeway
const LIFETIME: Duration = Duration::from_secs(130);

/// The number of digests from which on those of expired seals are removed
const SWEEP: usize = 4096;
