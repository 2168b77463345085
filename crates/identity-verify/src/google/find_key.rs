use std::{pin::Pin, sync::Arc, time::SystemTime};

use super::{Jwks, VerifyingKey};
use crate::{Cause, Error};

/// Answers which key has an id
///
/// For sets that change while requests are served. The id comes from an
/// unauthenticated caller: an implementation must
///
/// - not let unknown ids cause more than a fetch in a minute, however many differ;
/// - hold no lock while it fetches;
/// - not leave the fetch to its caller. The future may be dropped at any time, as when a client
///   hangs up. If that ends the fetch, and the fetch counts as the one of its minute, one client
///   can keep all machines of Google from signing in. A task of its own that fetches avoids that,
///   and other callers can wait for its outcome.
///
/// `KeyCache` of the crate `identity-fetch` is such an implementation.
pub trait FindKey: Sync {
    /// The key with the id `kid`, if there is one
    ///
    /// # Errors
    ///
    /// [`Unavailable`] if no set is fresh enough to look into.
    fn find_key(
        &self,
        kid: &str,
        now: SystemTime,
    ) -> impl Future<Output = Result<Option<VerifyingKey>, Unavailable>> + Send;
}

impl FindKey for Jwks {
    async fn find_key(
        &self,
        kid: &str,
        _now: SystemTime,
    ) -> Result<Option<VerifyingKey>, Unavailable> {
        Ok(self.get(kid).cloned())
    }
}

impl<T: FindKey + ?Sized> FindKey for &T {
    fn find_key(
        &self,
        kid: &str,
        now: SystemTime,
    ) -> impl Future<Output = Result<Option<VerifyingKey>, Unavailable>> + Send {
        (**self).find_key(kid, now)
    }
}

impl<T: FindKey + Send + ?Sized> FindKey for Arc<T> {
    fn find_key(
        &self,
        kid: &str,
        now: SystemTime,
    ) -> impl Future<Output = Result<Option<VerifyingKey>, Unavailable>> + Send {
        (**self).find_key(kid, now)
    }
}

/// A [`FindKey`] of a type that is known only when the program runs, as `Arc<dyn DynFindKey>`
///
/// Every type that implements [`FindKey`] implements this, and `dyn DynFindKey` implements
/// [`FindKey`].
pub trait DynFindKey: Send + Sync {
    /// As [`FindKey::find_key`]
    fn find_key_boxed<'a>(&'a self, kid: &'a str, now: SystemTime) -> BoxedKey<'a>;
}

/// The future of [`DynFindKey::find_key_boxed`]
pub type BoxedKey<'a> =
    Pin<Box<dyn Future<Output = Result<Option<VerifyingKey>, Unavailable>> + Send + 'a>>;

impl<T: FindKey + Send> DynFindKey for T {
    fn find_key_boxed<'a>(&'a self, kid: &'a str, now: SystemTime) -> BoxedKey<'a> {
        Box::pin(self.find_key(kid, now))
    }
}

impl FindKey for dyn DynFindKey + '_ {
    async fn find_key(
        &self,
        kid: &str,
        now: SystemTime,
    ) -> Result<Option<VerifyingKey>, Unavailable> {
        self.find_key_boxed(kid, now).await
    }
}

/// No key set is available to look into
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("no key set is available")]
pub struct Unavailable {
    source: Option<Cause>,
}

impl Unavailable {
    /// Says no more than that no key set is available
    #[must_use]
    pub const fn new() -> Self {
        Self { source: None }
    }

    /// Keeps why the set could not be fetched, which becomes the source of
    /// [`Error::KeysUnavailable`]
    #[must_use]
    pub fn because(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { source: Some(Cause::new(error)) }
    }
}

impl From<Unavailable> for Error {
    fn from(unavailable: Unavailable) -> Self {
        Self::KeysUnavailable { source: unavailable.source }
    }
}
