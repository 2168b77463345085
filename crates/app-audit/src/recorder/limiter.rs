use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

/// Limits how many denied visits of one address are recorded
///
/// A denied visitor can come back at will and vary what it sends, and could fill the log.
/// Each address has a token bucket that holds one minute's worth of rows and refills
/// evenly. IPv6 addresses of the same /64 network share a bucket.
#[derive(Debug)]
pub(super) struct Limiter {
    per_minute: u32,
    /// When the bucket of each address will be full again
    full_at: HashMap<Option<IpAddr>, Instant>,
    swept: Option<Instant>,
    /// How many denials were left out since the last report, and when to report them
    unreported: Option<(u64, Instant)>,
}

impl Limiter {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute, full_at: HashMap::new(), swept: None, unreported: None }
    }

    /// Returns whether one more denial of this address may be recorded
    pub(super) fn admit(&mut self, ip: Option<IpAddr>, now: Instant) -> bool {
        let admitted = self.take(ip.map(network), now);
        if !admitted {
            let (count, _) = self.unreported.get_or_insert((0, now + MINUTE));
            *count += 1;
        }
        admitted
    }

    /// Returns when the next report is due
    pub(super) fn next(&self) -> Option<Instant> {
        self.unreported.map(|(_, at)| at)
    }

    /// Returns how many denials were left out in the last minute, once it is over or
    /// `at_once`
    pub(super) fn report(&mut self, now: Instant, at_once: bool) -> Option<u64> {
        self.unreported.take_if(|(_, at)| at_once || now >= *at).map(|(count, _)| count)
    }

    fn take(&mut self, source: Option<IpAddr>, now: Instant) -> bool {
        let Some(each) = MINUTE.checked_div(self.per_minute) else { return false };
        if !self.has_room_for(source) {
            self.sweep(now);
        }
        // Once the table is full, new addresses share the bucket for unknown addresses.
        let source = source.filter(|_| self.has_room_for(source));
        let full_at = self.full_at.entry(source).or_insert(now);
        let begin = (*full_at).max(now);
        let admitted = begin + each <= now + MINUTE;
        if admitted {
            *full_at = begin + each;
        }
        admitted
    }

    fn has_room_for(&self, source: Option<IpAddr>) -> bool {
        self.full_at.len() < MAX_SOURCES || self.full_at.contains_key(&source)
    }

    /// Removes buckets that are full, which are the same as none
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_none_or(|swept| now >= swept + SWEEP) {
            self.swept = Some(now);
            self.full_at.retain(|_, full_at| *full_at > now);
        }
    }
}

/// The addresses that one visitor usually controls: one of IPv4, a /64 network of IPv6
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        ip => ip,
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const SWEEP: Duration = Duration::from_secs(1);
const MAX_SOURCES: usize = 10_000;
