use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use app_authz::Error;
use app_authz::credential::SessionToken;
use app_authz::token::LEEWAY;
use ring::digest::{SHA256, digest};
use store::Store;

use super::AppService;

/// The seals that were opened here while they were good, by their digests
///
/// Each replica knows its own: a seal is opened at most once by each.
#[derive(Debug, Default)]
pub(crate) struct Seals(Mutex<HashMap<[u8; 32], SystemTime>>);

impl Seals {
    /// Whether the seal is shown for the first time
    ///
    /// Only seals that were made here are kept, for as long as they can be good, so their
    /// number is that of recent sign-ins.
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
    /// The session token in a seal; nothing if it was opened here before
    ///
    /// # Errors
    ///
    /// Why it cannot be opened.
    pub(super) async fn open_seal(
        &self,
        sealed: &str,
        now: SystemTime,
    ) -> Result<Option<SessionToken>, Error> {
        let token = self.keys.seals.open(&*self.store, sealed, now, LEEWAY).await?;
        Ok(self.seals.is_first(sealed, now).then_some(token))
    }
}

/// A minute before a seal is made to a minute after, and some leeway
const LIFETIME: Duration = Duration::from_secs(130);

/// So many are kept before those that have ended are taken out
const SWEEP: usize = 4096;
