use std::error::Error;
use std::time::{Duration, SystemTime};

use super::{CryptoKey, Feature, Secret};

/// Carries out what the keys of a feature need
pub trait Rotation: Sync {
    /// Why nothing was done
    type Error: Error + Send + Sync + 'static;

    /// Shows `plan` all rows of the feature, and does what it answers
    ///
    /// In one transaction that excludes every other replica's, so that no two make a
    /// successor to one key. Returns how many changes there were.
    fn rotate<P>(
        &self,
        feature: Feature,
        plan: P,
    ) -> impl Future<Output = Result<usize, Self::Error>> + Send
    where
        P: FnOnce(&[CryptoKey]) -> Vec<Change> + Send;
}

/// What the keys of one feature need at `now`, in the order in which to do it
///
/// A key signs for thirty days. An hour before that it gets a successor that starts
/// when it ends, so that every replica has heard of the successor before it signs. The
/// old key stays until nothing it signed can be good any more; then its secret goes and
/// its row stays, so that no sequence is used twice.
///
/// To be called with all rows of the feature, and its answer carried out, in one
/// transaction that excludes other replicas. `fill` writes random bytes.
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
    // A key that ended while nobody looked leaves a gap, and a new one is not used before
    // replicas can have heard of it. Where there was no key at all, nothing is to wait for.
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

/// What replaces the keys of one feature at `now`, whether or not that is due
///
/// The successor starts once every replica has heard of it, and the keys before it end
/// as in [`rotate`]. If they are `compromised`, it starts at once and they are cleared.
/// That reaches a replica when it fetches keys again: with the first token that names the
/// successor, or after [`REFRESH_INTERVAL`](super::REFRESH_INTERVAL). Until then it takes,
/// and signs with, what it has.
///
/// To be called as [`rotate`] is.
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

/// A new key of the next number
fn successor(
    feature: Feature,
    rows: &[&CryptoKey],
    starts_at: SystemTime,
    fill: &mut impl FnMut(&mut [u8]),
) -> CryptoKey {
    let mut secret = vec![0; feature.secret_len()];
    fill(&mut secret);
    let last = rows.iter().map(|row| row.sequence).max().unwrap_or(0);
    CryptoKey {
        feature,
        sequence: last + 1,
        secret: Some(Secret::new(secret)),
        starts_at,
        deletes_at: None,
    }
}

/// One change to the table of keys
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key's secret is taken away, and its row stays
    Clear {
        /// What the key is for
        feature: Feature,
        /// Its number
        sequence: i32,
    },
    /// A new key
    Insert(CryptoKey),
    /// The key has a successor, and ends
    End {
        /// What the key is for
        feature: Feature,
        /// Its number
        sequence: i32,
        /// From when on it is good for nothing
        deletes_at: SystemTime,
    },
}

const KEY_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long before a key's end its successor is made, and how long after it the old one
/// is kept beyond the life of its tokens
const OVERLAP: Duration = Duration::from_secs(60 * 60);

/// How long replicas may take to hear of a new key: three times their refresh
const NOTICE: Duration = Duration::from_secs(30 * 60);
