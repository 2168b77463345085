use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use thiserror::Error as ThisError;

use super::{CryptoKey, Feature, Secret};
use crate::{BoxFuture, Cause};

/// Applies changes to the table of keys
pub trait Rotation: Sync {
    /// Why no change was made
    type Error: Error + Send + Sync + 'static;

    /// Passes all rows of the feature to `plan`, and applies the changes it returns
    ///
    /// One transaction, which excludes those of other replicas, so that no two create a
    /// successor for one key. Returns the number of changes. [`rotate`](super::rotate) is the plan
    /// of authd, which carries it out every ten minutes.
    fn rotate<P>(
        &self,
        feature: Feature,
        plan: P,
    ) -> impl Future<Output = Result<usize, Self::Error>> + Send
    where
        P: FnOnce(&[CryptoKey]) -> Vec<Change> + Send;
}

/// Returns the changes to make to these rows
pub type Plan<'a> = Box<dyn FnOnce(&[CryptoKey]) -> Vec<Change> + Send + 'a>;

/// [`Rotation`] behind `dyn`, for a host that chooses the implementation at run time
///
/// Every `Rotation` that is `Send` implements it, and `Arc<dyn DynRotation>` is a `Rotation` again.
/// Its error is a [`Cause`](crate::Cause), which has the implementation's own error.
pub trait DynRotation: Send + Sync {
    /// Answers as [`Rotation::rotate`]
    fn dyn_rotate<'a>(
        &'a self,
        feature: Feature,
        plan: Plan<'a>,
    ) -> BoxFuture<'a, Result<usize, Cause>>;
}

impl<T: Rotation + Send> DynRotation for T {
    fn dyn_rotate<'a>(
        &'a self,
        feature: Feature,
        plan: Plan<'a>,
    ) -> BoxFuture<'a, Result<usize, Cause>> {
        Box::pin(async move { self.rotate(feature, plan).await.map_err(Cause::new) })
    }
}

impl Rotation for dyn DynRotation + '_ {
    type Error = Cause;

    async fn rotate<P>(&self, feature: Feature, plan: P) -> Result<usize, Cause>
    where
        P: FnOnce(&[CryptoKey]) -> Vec<Change> + Send,
    {
        self.dyn_rotate(feature, Box::new(plan)).await
    }
}

/// Implements the port for a pointer to an implementation
macro_rules! through {
    ([$($bound:tt)+] $pointer:ty) => {
        impl<$($bound)+> Rotation for $pointer {
            type Error = T::Error;

            fn rotate<P>(
                &self,
                feature: Feature,
                plan: P,
            ) -> impl Future<Output = Result<usize, T::Error>> + Send
            where
                P: FnOnce(&[CryptoKey]) -> Vec<Change> + Send,
            {
                T::rotate(self, feature, plan)
            }
        }
    };
}

through!([T: Rotation + ?Sized] &T);
through!([T: Rotation + ?Sized] Box<T>);
through!([T: Rotation + Send + ?Sized] Arc<T>);

/// Plans the changes to the keys of one feature that are due at `now`, in the order to apply
///
/// A key signs for 30 days. An hour before the end it gets a successor that starts at the end,
/// so that every replica has the successor before it signs. The old key stays until no token
/// that it signed can be good. Then its secret is deleted, and its row stays so that its
/// sequence is not used again.
///
/// `rows` must be all rows of the feature, and the changes must be applied in the transaction
/// that read them, which must exclude other replicas. `fill` writes random bytes.
#[must_use]
pub fn rotate(
    feature: Feature,
    rows: &[CryptoKey],
    now: SystemTime,
    mut fill: impl FnMut(&mut [u8]),
) -> Vec<Change> {
    let mut changes = Vec::new();
    let rows: Vec<&CryptoKey> = rows.iter().filter(|row| row.feature == feature).collect();
    let live = rows.iter().filter(|row| row.secret.is_some());
    let (ended, live): (Vec<&CryptoKey>, Vec<&CryptoKey>) =
        live.partition(|row| row.deletes_at.is_some_and(|end| end <= now));
    changes.extend(ended.iter().map(|row| Change::Clear { feature, sequence: row.sequence }));

    let open = live.into_iter().filter(|row| row.deletes_at.is_none());
    let (due, lasting): (Vec<&CryptoKey>, Vec<&CryptoKey>) =
        open.partition(|row| row.starts_at + KEY_LIFETIME - OVERLAP <= now);

    let last_end = due.iter().map(|row| row.starts_at + KEY_LIFETIME).max();
    // If the last key ended while rotation did not run, the new one still starts only after
    // replicas had time to fetch it. The first key of a feature starts at once.
    let starts_at = last_end.map_or(now, |end| end.max(now + NOTICE));
    if lasting.is_empty() {
        changes.push(Change::Insert(successor(feature, &rows, starts_at, &mut fill)));
    }
    let deletes_at = starts_at + OVERLAP + feature.token_lifetime();
    changes.extend(due.iter().map(|row| Change::End {
        feature,
        sequence: row.sequence,
        deletes_at,
    }));
    changes
}

/// Plans the replacement of all keys of one feature at `now`, whether or not it is due
///
/// The successor starts once every replica had time to fetch it, and the old keys end as in
/// [`rotate`]. If they are `compromised`, the successor starts at once and their secrets are
/// deleted. A replica learns of that when it next fetches keys: at the first token that names
/// the successor, or after [`REFRESH_INTERVAL`](super::REFRESH_INTERVAL). Until then it signs
/// and verifies with the keys it has.
///
/// Arguments and changes are handled as for [`rotate`].
#[must_use]
pub fn replace(
    feature: Feature,
    rows: &[CryptoKey],
    now: SystemTime,
    compromised: bool,
    mut fill: impl FnMut(&mut [u8]),
) -> Vec<Change> {
    let rows: Vec<&CryptoKey> = rows.iter().filter(|row| row.feature == feature).collect();
    let live = rows.iter().filter(|row| row.secret.is_some());
    let mut changes: Vec<Change>;
    if compromised {
        changes = live.map(|row| Change::Clear { feature, sequence: row.sequence }).collect();
        changes.push(Change::Insert(successor(feature, &rows, now, &mut fill)));
    } else {
        let starts_at = now + NOTICE;
        let deletes_at = starts_at + OVERLAP + feature.token_lifetime();
        changes = vec![Change::Insert(successor(feature, &rows, starts_at, &mut fill))];
        let open = live.filter(|row| row.deletes_at.is_none());
        changes.extend(open.map(|row| Change::End { feature, sequence: row.sequence, deletes_at }));
    }
    changes
}

/// A new key with the next sequence
fn successor(
    feature: Feature,
    rows: &[&CryptoKey],
    starts_at: SystemTime,
    fill: &mut impl FnMut(&mut [u8]),
) -> CryptoKey {
    let mut secret = vec![0; feature.secret_len()];
    fill(&mut secret);
    let last = rows.iter().map(|row| row.sequence).max().unwrap_or(0);
    CryptoKey::new(feature, last + 1, Secret::new(secret), starts_at)
}

/// A change to the table of keys
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Delete the secret of the key and keep its row
    Clear {
        /// The feature of the key
        feature: Feature,
        /// The sequence of the key
        sequence: i32,
    },
    /// Insert a new key
    Insert(CryptoKey),
    /// Set the end of the key, which has a successor
    End {
        /// The feature of the key
        feature: Feature,
        /// The sequence of the key
        sequence: i32,
        /// When the key stops to verify
        deletes_at: SystemTime,
    },
}

impl Change {
    /// Makes all changes in `rows`, which may have keys of other features too, or none
    ///
    /// For implementations of [`Rotation`] that have all rows at hand.
    ///
    /// # Errors
    ///
    /// Fails if a key is to be inserted with the sequence of another of its feature.
    pub fn apply_all(changes: &[Self], rows: &mut Vec<CryptoKey>) -> Result<(), SequenceTaken> {
        let mut changed = rows.clone();
        for change in changes {
            let (feature, sequence) = change.key();
            let is_key = |key: &&mut CryptoKey| (key.feature, key.sequence) == (feature, sequence);
            match (change, changed.iter_mut().find(is_key)) {
                (Self::Insert(_), Some(_)) => return Err(SequenceTaken(sequence)),
                (Self::Insert(key), None) => changed.push(key.clone()),
                (Self::End { deletes_at, .. }, Some(key)) => key.deletes_at = Some(*deletes_at),
                (Self::Clear { .. }, Some(key)) => key.secret = None,
                (Self::End { .. } | Self::Clear { .. }, None) => {}
            }
        }
        *rows = changed;
        Ok(())
    }

    const fn key(&self) -> (Feature, i32) {
        match self {
            Self::Insert(key) => (key.feature, key.sequence),
            Self::Clear { feature, sequence } | Self::End { feature, sequence, .. } => {
                (*feature, *sequence)
            }
        }
    }
}

/// A key of this sequence exists
#[derive(Clone, Copy, Debug, ThisError, PartialEq, Eq)]
#[error("a key of the sequence {0} exists")]
pub struct SequenceTaken(pub i32);

/// How long a key signs
const KEY_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long before the end of a key its successor is created, and how long the old key is kept
/// after its last token has expired
const OVERLAP: Duration = Duration::from_secs(60 * 60);

/// How long replicas may take to fetch a new key: three refresh intervals
const NOTICE: Duration = Duration::from_secs(30 * 60);
