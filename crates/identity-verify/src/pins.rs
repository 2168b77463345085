use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    num::NonZeroUsize,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use crate::{Cause, Error, InstanceId, VerifiedInstance};

/// What the first proof of an instance demands of later ones: trust on first use
///
/// The first proof for an instance and a purpose pins the moment that its cloud
/// signed, and each one admitted after it moves the pin. What lies before the pin is
/// a replay. A purpose is what a proof is presented for, such as a build: for a new purpose
/// an instance has no pin yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PinRule {
    /// As new as the pin, or newer
    ///
    /// For agents, which present the same document again each time they start: a
    /// document of AWS says the same until the instance is stopped. A thief of the newest
    /// proof can present it too.
    NotOlder,
    /// Newer than the pin: each moment once
    ///
    /// An instance of AWS is then admitted once between two of its starts, and others
    /// once a second.
    Newer,
}

impl PinRule {
    /// Admits a verified instance if `pins` holds nothing against it
    ///
    /// Call it once for each proof, after verification. Proves that no proof of this
    /// instance was admitted for `purpose` that is newer, or with
    /// [`Newer`](Self::Newer) as new, as far as `pins` remembers. Whether it is the
    /// instance that presents the first proof is not checked.
    ///
    /// # Errors
    ///
    /// [`Error::MissingClaim`] if the cloud signed no moment that can be read,
    /// [`Error::Replayed`], and [`Error::PinsUnavailable`].
    pub async fn admit(
        self,
        instance: &VerifiedInstance,
        purpose: &str,
        now: SystemTime,
        pins: &(impl Pins + ?Sized),
    ) -> Result<(), Error> {
        let signed_at = instance.require_moment()?;
        let sighting = Sighting { instance: instance.id(), purpose, signed_at };
        match pins.renew(&sighting, self, now).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Replayed),
            Err(PinsUnavailable { source }) => Err(Error::PinsUnavailable { source }),
        }
    }

    /// Whether a proof of `signed_at` is admitted where `pinned` is the pin
    #[must_use]
    pub fn admits(self, signed_at: SystemTime, pinned: SystemTime) -> bool {
        match self {
            Self::NotOlder => signed_at >= pinned,
            Self::Newer => signed_at > pinned,
        }
    }
}

/// A proof that is held against the pin of its instance and purpose
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sighting<'a> {
    /// The instance, whose cloud belongs to it
    pub instance: &'a InstanceId,
    /// What the proof is presented for, as the caller of [`PinRule::admit`] names it
    pub purpose: &'a str,
    /// The moment that the cloud signed, to be kept to the last digit
    pub signed_at: SystemTime,
}

impl<'a> Sighting<'a> {
    /// A proof that `instance` presents for `purpose`, and that its cloud signed at `signed_at`
    ///
    /// [`PinRule::admit`] makes the sightings of a server. This is for tests of [`Pins`].
    #[must_use]
    pub const fn new(instance: &'a InstanceId, purpose: &'a str, signed_at: SystemTime) -> Self {
        Self { instance, purpose, signed_at }
    }
}

/// Keeps the newest moment of each instance and purpose
///
/// An implementation must compare and write in one step, so that of two requests at
/// once one sees the other's pin: in SQL, one upsert whose `where` is the rule. How
/// long it remembers is how long a replay is refused.
///
/// The future may be dropped at any time, as when a client hangs up. An implementation then either
/// has moved the pin or has not, and in both cases the next call is answered.
pub trait Pins: Sync {
    /// Sets the pin to the moment of `sighting` if there is no pin yet, or if `rule`
    /// [admits](PinRule::admits) the moment; returns whether it did
    ///
    /// `now` is only for deleting old pins, and must not influence the result.
    ///
    /// # Errors
    ///
    /// [`PinsUnavailable`] if the pins cannot be read or written now.
    fn renew(
        &self,
        sighting: &Sighting<'_>,
        rule: PinRule,
        now: SystemTime,
    ) -> impl Future<Output = Result<bool, PinsUnavailable>> + Send;
}

impl<T: Pins + ?Sized> Pins for &T {
    fn renew(
        &self,
        sighting: &Sighting<'_>,
        rule: PinRule,
        now: SystemTime,
    ) -> impl Future<Output = Result<bool, PinsUnavailable>> + Send {
        (**self).renew(sighting, rule, now)
    }
}

impl<T: Pins + Send + ?Sized> Pins for Arc<T> {
    fn renew(
        &self,
        sighting: &Sighting<'_>,
        rule: PinRule,
        now: SystemTime,
    ) -> impl Future<Output = Result<bool, PinsUnavailable>> + Send {
        (**self).renew(sighting, rule, now)
    }
}

/// [`Pins`] of a type that is known only when the program runs, as `Arc<dyn DynPins>`
///
/// Every type that implements [`Pins`] implements this, and `dyn DynPins` implements [`Pins`].
pub trait DynPins: Send + Sync {
    /// As [`Pins::renew`]
    fn renew_boxed<'a>(
        &'a self,
        sighting: &'a Sighting<'_>,
        rule: PinRule,
        now: SystemTime,
    ) -> Pin<Box<dyn Future<Output = Result<bool, PinsUnavailable>> + Send + 'a>>;
}

impl<T: Pins + Send> DynPins for T {
    fn renew_boxed<'a>(
        &'a self,
        sighting: &'a Sighting<'_>,
        rule: PinRule,
        now: SystemTime,
    ) -> Pin<Box<dyn Future<Output = Result<bool, PinsUnavailable>> + Send + 'a>> {
        Box::pin(self.renew(sighting, rule, now))
    }
}

impl Pins for dyn DynPins + '_ {
    async fn renew(
        &self,
        sighting: &Sighting<'_>,
        rule: PinRule,
        now: SystemTime,
    ) -> Result<bool, PinsUnavailable> {
        self.renew_boxed(sighting, rule, now).await
    }
}

/// Pins could not be read or written
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("the pins are unavailable")]
pub struct PinsUnavailable {
    source: Option<Cause>,
}

impl PinsUnavailable {
    /// Says no more than that the pins are unavailable
    #[must_use]
    pub const fn new() -> Self {
        Self { source: None }
    }

    /// Keeps the error of the storage, which becomes the source of [`Error::PinsUnavailable`]
    #[must_use]
    pub fn because(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { source: Some(Cause::new(error)) }
    }
}

/// Pins in memory, a bounded number of them
///
/// For one process: it forgets all when it ends. When it is full, a new pin takes the
/// place of the one whose proof was admitted longest ago, and a replay of that one
/// would be admitted. So it should hold more than there are instances. `Debug` shows
/// their number only.
pub struct MemoryPins {
    capacity: NonZeroUsize,
    table: Mutex<Table>,
}

impl MemoryPins {
    /// No pins yet, and at most `capacity`
    #[must_use]
    pub const fn new(capacity: NonZeroUsize) -> Self {
        let table = Table { pins: BTreeMap::new(), by_admission: BTreeSet::new() };
        Self { capacity, table: Mutex::new(table) }
    }

    /// How many pins it holds
    #[must_use]
    pub fn count(&self) -> usize {
        self.with_table(|table| table.pins.len())
    }

    fn with_table<T>(&self, f: impl FnOnce(&mut Table) -> T) -> T {
        f(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Pins for MemoryPins {
    async fn renew(
        &self,
        sighting: &Sighting<'_>,
        rule: PinRule,
        now: SystemTime,
    ) -> Result<bool, PinsUnavailable> {
        let key = (sighting.instance.clone(), sighting.purpose.to_owned());
        Ok(self.with_table(|table| {
            let pinned = table.pins.get(&key).copied();
            if pinned.is_some_and(|pin| !rule.admits(sighting.signed_at, pin.signed_at)) {
                return false;
            }
            match pinned {
                Some(pin) => {
                    table.by_admission.remove(&(pin.admitted, key.clone()));
                }
                None if table.pins.len() >= self.capacity.get() => table.forget_oldest(),
                None => {}
            }
            table.by_admission.insert((now, key.clone()));
            table.pins.insert(key, Pinned { signed_at: sighting.signed_at, admitted: now });
            true
        }))
    }
}

impl fmt::Debug for MemoryPins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPins")
            .field("capacity", &self.capacity)
            .field("count", &self.count())
            .finish()
    }
}

struct Table {
    pins: BTreeMap<Key, Pinned>,
    /// The same keys, those admitted longest ago first
    by_admission: BTreeSet<(SystemTime, Key)>,
}

impl Table {
    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.by_admission.pop_first() {
            self.pins.remove(&key);
        }
    }
}

/// An instance and a purpose
type Key = (InstanceId, String);

#[derive(Clone, Copy)]
struct Pinned {
    signed_at: SystemTime,
    admitted: SystemTime,
}
