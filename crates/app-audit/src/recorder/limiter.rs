use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

/// How many refused visits of one address are worth a row
///
/// Whoever is refused can come back at will and under many names, so without this a
/// visitor could fill the log. An address has a minute's worth of rows at first and
/// earns them back evenly. What of IPv6 belongs to one network is one address.
#[derive(Debug)]
pub(super) struct Limiter {
    per_minute: u32,
    /// When each will have its whole minute's worth again
    sources: HashMap<Option<IpAddr>, Instant>,
    swept: Option<Instant>,
    /// How many were left out and are not told yet, and when they are
    untold: Option<(u64, Instant)>,
}

impl Limiter {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute, sources: HashMap::new(), swept: None, untold: None }
    }

    /// Whether one more refusal of this address may be recorded
    pub(super) fn admit(&mut self, ip: Option<IpAddr>, now: Instant) -> bool {
        let admitted = self.take(ip.map(network), now);
        if !admitted {
            let (count, _) = self.untold.get_or_insert((0, now + MINUTE));
            *count += 1;
        }
        admitted
    }

    /// When there is something to tell
    pub(super) fn next(&self) -> Option<Instant> {
        self.untold.map(|(_, at)| at)
    }

    /// How many were left out in the last minute, once it is over or `at_once`
    pub(super) fn tell(&mut self, now: Instant, at_once: bool) -> Option<u64> {
        self.untold.take_if(|(_, at)| at_once || now >= *at).map(|(count, _)| count)
    }

    fn take(&mut self, source: Option<IpAddr>, now: Instant) -> bool {
        let Some(each) = MINUTE.checked_div(self.per_minute) else { return false };
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&source) {
            self.sweep(now);
        }
        // Those who find no room share what those without an address have.
        let full = self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&source);
        let whole = self.sources.entry(if full { None } else { source }).or_insert(now);
        let begin = (*whole).max(now);
        let admitted = begin + each <= now + MINUTE;
        if admitted {
            *whole = begin + each;
        }
        admitted
    }

    /// Forgets those who have their whole minute's worth anyway
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_none_or(|swept| now >= swept + SWEEP) {
            self.swept = Some(now);
            self.sources.retain(|_, whole| *whole > now);
        }
    }
}

/// What one visitor usually has: an address of IPv4, 64 bits of IPv6
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
