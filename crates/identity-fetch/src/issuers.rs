use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use identity_verify::azure::{FetchIssuer, IssuerUrl};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::fetch::{FetchError, Fetcher};
use super::network::Network;
use super::reach::Reach;
use crate::error::chain;

/// Certificates of Azure's issuers, fetched when a proof needs one that is not built in
///
/// Anyone can make a proof that gets this far, so besides what [`Fetcher`] bounds:
///
/// - a URL is fetched once at a time, and not again for a day, or for five minutes
///   after a failure;
/// - twenty fetches begin in any minute, and no more, whatever the URLs;
/// - 128 answers are remembered.
///
/// A certificate that could be fetched once is served beyond its day when it cannot be
/// fetched again: it does not change, and whether it is good is for the path to show.
/// Fetches go on when the proof that needed them is given up, so that the next one
/// finds their answer.
#[derive(Debug)]
pub struct IssuerFetcher(Arc<Shared>);

impl IssuerFetcher {
    /// Fetches through `network`, from public addresses only
    #[must_use]
    pub fn new(network: Arc<dyn Network>) -> Self {
        Self(Arc::new(Shared {
            fetcher: Fetcher::new(network, Reach::Public),
            memory: Mutex::default(),
            fetched: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            remembered: AtomicU64::new(0),
            over_budget: AtomicU64::new(0),
        }))
    }

    /// What happened so far
    #[must_use]
    pub fn counts(&self) -> IssuerCounts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        IssuerCounts {
            fetched: count(&self.0.fetched),
            failed: count(&self.0.failed),
            remembered: count(&self.0.remembered),
            over_budget: count(&self.0.over_budget),
        }
    }
}

impl FetchIssuer for IssuerFetcher {
    /// The date is no matter here: how long answers are remembered is counted on the
    /// clock that nobody sets.
    async fn fetch(&self, url: &IssuerUrl, _now: SystemTime) -> Option<Vec<u8>> {
        let answer = match self.0.look(url) {
            Look::Known(answer) => answer,
            // An error means that the task is gone without an answer.
            Look::UnderWay(mut answer) => answer.wait_for(Option::is_some).await.ok()?.clone()?,
        };
        answer.map(|der| der.to_vec())
    }
}

/// What an [`IssuerFetcher`] did so far, for metrics
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IssuerCounts {
    /// Fetches that brought a certificate
    pub fetched: u64,
    /// Fetches that did not
    pub failed: u64,
    /// Questions answered from memory, failures included
    pub remembered: u64,
    /// Questions not asked because too many had been
    pub over_budget: u64,
}

/// DER, or that there is none
type Answer = Option<Bytes>;

enum Look {
    Known(Answer),
    UnderWay(watch::Receiver<Option<Answer>>),
}

#[derive(Debug)]
struct Shared {
    fetcher: Fetcher,
    memory: Mutex<Memory>,
    fetched: AtomicU64,
    failed: AtomicU64,
    remembered: AtomicU64,
    over_budget: AtomicU64,
}

impl Shared {
    /// Answers from memory, joins the fetch under way, or begins one
    fn look(self: &Arc<Self>, url: &IssuerUrl) -> Look {
        let now = Instant::now();
        let mut memory = self.memory();
        if let Some(entry) = memory.entries.get_mut(url) {
            if let Some(known) = entry.known.as_mut().filter(|known| now < known.until) {
                known.used = now;
                self.remembered.fetch_add(1, Ordering::Relaxed);
                return Look::Known(known.answer.clone());
            }
            // A fetch whose sender is gone will never answer.
            if let Some(fetch) = &entry.fetch
                && (fetch.borrow().is_some() || fetch.has_changed().is_ok())
            {
                return Look::UnderWay(fetch.clone());
            }
        }
        if !memory.spend(now) {
            self.over_budget.fetch_add(1, Ordering::Relaxed);
            if !std::mem::replace(&mut memory.complained, true) {
                warn!(most = BUDGET, %url, "no issuer is fetched: too many were in a minute");
            }
            return Look::Known(memory.outdated(url));
        }
        memory.complained = false;
        memory.make_room_for(url);
        let (sender, fetch) = watch::channel(None);
        memory.entries.entry(url.clone()).or_default().fetch = Some(fetch.clone());
        drop(memory);
        tokio::spawn(Arc::clone(self).fetch(url.clone(), sender));
        Look::UnderWay(fetch)
    }

    async fn fetch(self: Arc<Self>, url: IssuerUrl, sender: watch::Sender<Option<Answer>>) {
        let fetched = self.get(&url).await;
        // The URL is plain and short, whoever wrote it: `IssuerUrl` takes no other.
        let answer = match fetched {
            Ok(der) => {
                self.fetched.fetch_add(1, Ordering::Relaxed);
                info!(%url, "fetched an issuer's certificate");
                Some(der)
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                warn!(%url, error = chain(&error), "cannot fetch an issuer's certificate");
                None
            }
        };
        let now = Instant::now();
        let mut memory = self.memory();
        let keep = if answer.is_some() { KEEP_ANSWERS } else { KEEP_FAILURES };
        let answer = answer.or_else(|| memory.outdated(&url));
        let known = Known { answer: answer.clone(), until: now + keep, used: now };
        memory.entries.insert(url, Entry { known: Some(known), fetch: None });
        drop(memory);
        sender.send_replace(Some(answer));
    }

    async fn get(&self, url: &IssuerUrl) -> Result<Bytes, IssuerError> {
        let url = url.as_str().parse().map_err(|_| FetchError::Url)?;
        let answer = self.fetcher.get(&url, IssuerUrl::MAX_ANSWER).await?;
        if is_one_sequence(&answer.body) { Ok(answer.body) } else { Err(IssuerError::NotDer) }
    }

    /// Held for moments, never while something is fetched
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of URLs, and how many fetches began lately
#[derive(Debug, Default)]
struct Memory {
    entries: HashMap<IssuerUrl, Entry>,
    /// When the last fetches began, at most [`BUDGET`] of them, oldest first
    begun: VecDeque<Instant>,
    /// Whether the log has it that the budget is spent
    complained: bool,
}

#[derive(Debug, Default)]
struct Entry {
    known: Option<Known>,
    fetch: Option<watch::Receiver<Option<Answer>>>,
}

#[derive(Debug)]
struct Known {
    answer: Answer,
    until: Instant,
    used: Instant,
}

impl Memory {
    /// Takes one fetch out of the budget, if there is one left
    fn spend(&mut self, now: Instant) -> bool {
        while self.begun.front().is_some_and(|begun| now >= *begun + MINUTE) {
            self.begun.pop_front();
        }
        let may = self.begun.len() < BUDGET;
        if may {
            self.begun.push_back(now);
        }
        may
    }

    /// The certificate that was once there
    fn outdated(&self, url: &IssuerUrl) -> Answer {
        self.entries.get(url)?.known.as_ref()?.answer.clone()
    }

    /// Forgets the answer that is worth least: failures first, then what nobody asked
    /// for since longest, so that certificates in use outlast a flood of others
    fn make_room_for(&mut self, url: &IssuerUrl) {
        if self.entries.len() < MOST_ENTRIES || self.entries.contains_key(url) {
            return;
        }
        let worth =
            |entry: &Entry| entry.known.as_ref().map(|known| (known.answer.is_some(), known.used));
        let least = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.fetch.is_none())
            .min_by_key(|(_, entry)| worth(entry))
            .map(|(url, _)| url.clone());
        if let Some(least) = least {
            self.entries.remove(&least);
        }
    }
}

/// Whether these bytes are one DER SEQUENCE (X.690, 8.1.3), as every certificate is and
/// no page of a web site
fn is_one_sequence(bytes: &[u8]) -> bool {
    let (declared, rest) = match bytes {
        [0x30, length @ ..=0x7f, rest @ ..] => (usize::from(*length), rest),
        [0x30, 0x81, length, rest @ ..] => (usize::from(*length), rest),
        [0x30, 0x82, high, low, rest @ ..] => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return false,
    };
    declared == rest.len()
}

#[derive(Debug, Error)]
enum IssuerError {
    #[error("it does not arrive")]
    Fetch(#[from] FetchError),
    #[error("what arrives is no certificate in DER")]
    NotDer,
}

/// Fetches that begin within [`MINUTE`], at most; a proof may need nine
const BUDGET: usize = 20;
const MINUTE: Duration = Duration::from_mins(1);

const KEEP_ANSWERS: Duration = Duration::from_hours(24);
const KEEP_FAILURES: Duration = Duration::from_mins(5);

/// At 64 KiB each, 8 MiB
const MOST_ENTRIES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_one_sequence_and_a_page_is_not() {
        let sequence = |head: &[u8], length: usize| [head, &vec![0; length]].concat();
        for good in [
            sequence(&[0x30, 0], 0),
            sequence(&[0x30, 0x7f], 127),
            sequence(&[0x30, 0x81, 0x80], 128),
            sequence(&[0x30, 0x82, 0x05, 0x00], 1280),
        ] {
            assert!(is_one_sequence(&good));
            assert!(!is_one_sequence(&good[..good.len() - 1]));
            assert!(!is_one_sequence(&[&good[..], &[0]].concat()));
        }
        for bad in [&b""[..], b"0", b"<html>", b"-----BEGIN CERTIFICATE-----", &[0x30, 0x80, 0, 0]]
        {
            assert!(!is_one_sequence(bad));
        }
    }
}
