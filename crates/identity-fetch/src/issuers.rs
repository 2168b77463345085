use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use identity_verify::azure::{FetchIssuer, IssuerUrl};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::rustls::ClientConfig;
use tracing::{info, warn};

use super::exchange::FetchError;
use super::fetch::Fetcher;
use super::network::Network;
use super::reach::Reach;
use crate::error::chain;

/// Certificates of Azure's issuers, fetched when a proof needs one that is not built in
///
/// Anyone can send a proof that causes a fetch, so there are limits besides those of [`Fetcher`]:
///
/// - each URL has at most one fetch under way, and is not fetched again for a day, or for five
///   minutes after a failure;
/// - at most twenty fetches begin in any minute, across all URLs;
/// - at most 128 answers are kept.
///
/// A certificate that was fetched once is used for more than a day if it cannot be fetched again:
/// it does not change, and path validation decides whether it is valid. A fetch continues even if
/// the proof that needed it is abandoned, so that the next proof finds the answer.
#[derive(Debug)]
pub struct IssuerFetcher(Arc<Shared>);

impl IssuerFetcher {
    /// Fetches through `network`, and from public addresses only
    #[must_use]
    pub fn new(network: Arc<dyn Network>) -> Self {
        Self::with(Fetcher::new(network, Reach::Public))
    }

    /// As [`new`](Self::new), with the TLS of the caller for `https` URLs
    ///
    /// A proxy cannot be used: it would resolve the names again, and could connect to addresses
    /// that are not public. Most of these URLs are `http`. What they answer is trusted only once
    /// its signature has been verified.
    #[must_use]
    pub fn with_tls(network: Arc<dyn Network>, config: Arc<ClientConfig>) -> Self {
        Self::with(Fetcher::new(network, Reach::Public).tls(config))
    }

    fn with(fetcher: Fetcher) -> Self {
        Self(Arc::new(Shared {
            fetcher,
            memory: Mutex::default(),
            fetched: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            remembered: AtomicU64::new(0),
            over_budget: AtomicU64::new(0),
        }))
    }

    /// Counts since the fetcher was created
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
    /// The date is not used: the age of answers is measured with the monotonic clock.
    async fn fetch(&self, url: &IssuerUrl, _now: SystemTime) -> Option<Vec<u8>> {
        let answer = match self.0.look_up(url) {
            Lookup::Known(answer) => answer,
            // An error means that the task ended without an answer.
            Lookup::UnderWay(mut answer) => answer.wait_for(Option::is_some).await.ok()?.clone()?,
        };
        answer.map(|der| der.to_vec())
    }
}

/// Counts of an [`IssuerFetcher`] since it was created, for metrics
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IssuerCounts {
    /// Fetches that returned a certificate
    pub fetched: u64,
    /// Fetches that failed
    pub failed: u64,
    /// Lookups answered from memory, including remembered failures
    pub remembered: u64,
    /// Lookups for which the budget did not allow a fetch
    pub over_budget: u64,
}

/// The certificate in DER, or `None` if it could not be fetched
type Answer = Option<Bytes>;

enum Lookup {
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
    /// Answers from memory, joins the fetch under way, or starts one
    fn look_up(self: &Arc<Self>, url: &IssuerUrl) -> Lookup {
        let now = Instant::now();
        let mut memory = self.memory();
        if let Some(entry) = memory.entries.get_mut(url) {
            if let Some(known) = entry.known.as_mut().filter(|known| now < known.until) {
                known.used = now;
                self.remembered.fetch_add(1, Ordering::Relaxed);
                return Lookup::Known(known.answer.clone());
            }
            // A fetch whose sender was dropped will never answer.
            let fetch = entry.fetch.as_ref();
            let fetch = fetch.filter(|f| f.borrow().is_some() || f.has_changed().is_ok());
            if let Some(fetch) = fetch {
                return Lookup::UnderWay(fetch.clone());
            }
        }
        if !memory.spend(now) {
            self.over_budget.fetch_add(1, Ordering::Relaxed);
            if !std::mem::replace(&mut memory.warned, true) {
                warn!(most = BUDGET, %url, "not fetching an issuer's certificate: too many fetches in a minute");
            }
            return Lookup::Known(memory.outdated(url));
        }
        memory.warned = false;
        memory.make_room_for(url);
        let (sender, fetch) = watch::channel(None);
        memory.entries.entry(url.clone()).or_default().fetch = Some(fetch.clone());
        drop(memory);
        tokio::spawn(Arc::clone(self).fetch(url.clone(), sender));
        Lookup::UnderWay(fetch)
    }

    async fn fetch(self: Arc<Self>, url: IssuerUrl, sender: watch::Sender<Option<Answer>>) {
        let fetched = self.get(&url).await;
        // The URL comes from the proof, but is safe to log: an `IssuerUrl` is short and printable.
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

    /// Locked only briefly, and never during a fetch
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answers for URLs, and when recent fetches began
#[derive(Debug, Default)]
struct Memory {
    entries: HashMap<IssuerUrl, Entry>,
    /// When the last fetches began, at most [`BUDGET`] of them, oldest first
    begun: VecDeque<Instant>,
    /// Whether the log already has a warning that the budget is spent
    warned: bool,
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
    /// Takes one fetch from the budget; `false` if it is spent
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

    /// The certificate of an earlier fetch, regardless of its age
    fn outdated(&self, url: &IssuerUrl) -> Answer {
        self.entries.get(url)?.known.as_ref()?.answer.clone()
    }

    /// Removes an answer if the memory is full: failures first, then the least recently used, so
    /// that certificates in use stay when many others are fetched
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

/// Whether these bytes are one DER SEQUENCE (X.690, 8.1.3), as every certificate is and a web page
/// is not
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
    #[error("the fetch failed")]
    Fetch(#[from] FetchError),
    #[error("the answer is not a certificate in DER")]
    NotDer,
}

/// The most fetches that begin within [`MINUTE`]; one proof may need nine
const BUDGET: usize = 20;
const MINUTE: Duration = Duration::from_secs(60);

const KEEP_ANSWERS: Duration = Duration::from_secs(24 * 3_600);
const KEEP_FAILURES: Duration = Duration::from_secs(5 * 60);

/// At most 64 KiB each, which is 8 MiB in all
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
