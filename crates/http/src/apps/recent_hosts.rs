use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use app_authz::AppRequest;
use arc_swap::ArcSwapOption;

/// Hosts of apps that had visits with good tokens lately, and what each of them asks for
///
/// A page makes dozens of requests to its host. To read the name in the host again, and to copy its
/// parts, would take as long as everything else that is decided about a visit with a known token.
///
/// A host determines its slot, and replaces the host in it once it comes a second time in a row.
#[derive(Debug, Default)]
pub(super) struct RecentHosts {
    slots: OnceLock<Box<[Slot]>>,
}

#[derive(Debug, Default)]
struct Slot {
    known: ArcSwapOption<Known>,
    /// The hash of the host that was noted last
    noted: AtomicU64,
}

#[derive(Debug)]
struct Known {
    host: Box<str>,
    request: Arc<AppRequest>,
}

impl RecentHosts {
    /// The request for the root of the host, if the host is known exactly as it is written
    pub(super) fn get(&self, host: &str) -> Option<Arc<AppRequest>> {
        let known = self.slot(hash(host))?.known.load();
        let known = known.as_ref().filter(|known| *known.host == *host)?;
        Some(Arc::clone(&known.request))
    }

    /// Notes what a host asks for, whose visitor has a good token
    pub(super) fn note(&self, host: &str, request: &Arc<AppRequest>) {
        let hash = hash(host);
        let Some(slot) = self.slot(hash).filter(|_| host.len() <= MAX_LEN) else { return };
        if slot.noted.swap(hash, Ordering::Relaxed) == hash {
            let known = Known { host: host.into(), request: Arc::clone(request) };
            slot.known.store(Some(Arc::new(known)));
        }
    }

    fn slot(&self, hash: u64) -> Option<&Slot> {
        let slots = self.slots.get_or_init(|| (0..SLOTS).map(|_| Slot::default()).collect());
        slots.get(usize::try_from(hash >> (u64::BITS - SLOTS.ilog2())).ok()?)
    }
}

/// A number that spreads hosts over slots; hosts can be chosen that have the same
fn hash(host: &str) -> u64 {
    let (words, rest) = host.as_bytes().as_chunks();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let rest = rest.iter().fold(0, |rest, byte| rest << 8 | u64::from(*byte));
    words.chain([rest]).fold(0, |hash: u64, word| {
        hash.rotate_left(5).wrapping_add(word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

/// A power of two: enough for the apps that are in use at a time, in less than a megabyte
const SLOTS: usize = 1024;

/// The length of a name in DNS (RFC 1035, section 2.3.4), and a port
const MAX_LEN: usize = 260;

#[cfg(test)]
mod tests {
    use app_authz::address::AppName;
    use app_authz::app::UncheckedRequest;

    use super::*;

    fn request(host: &str) -> Arc<AppRequest> {
        let name: AppName = host.split('.').next().unwrap().parse().unwrap();
        Arc::new(UncheckedRequest::from(name).try_into().unwrap())
    }

    #[test]
    fn a_host_is_known_once_it_was_noted_twice_in_a_row() {
        let hosts = RecentHosts::default();
        let (own, other) = ("code--dev--alice.example.com", "code--dev--bob.example.com");
        hosts.note(own, &request(own));
        assert_eq!(hosts.get(own), None);
        hosts.note(own, &request(own));
        assert_eq!(hosts.get(own), Some(request(own)));
        assert_eq!(hosts.get(other), None);
        assert_eq!(hosts.get("Code--dev--alice.example.com"), None, "another text");
        assert_eq!(hosts.get(&own[1..]), None);
    }

    #[test]
    fn hosts_that_share_a_slot_are_not_taken_for_each_other() {
        let hosts = RecentHosts::default();
        let name = |n: usize| format!("code--dev--user{n}.example.com");
        let slot = |host: &str| hash(host) >> (u64::BITS - SLOTS.ilog2());
        let one = name(0);
        let two = (1..).map(name).find(|other| slot(other) == slot(&one)).unwrap();
        for host in [&one, &one, &two] {
            hosts.note(host, &request(host));
        }
        assert_eq!((hosts.get(&one), hosts.get(&two)), (Some(request(&one)), None));
        hosts.note(&one, &request(&one));
        hosts.note(&two, &request(&two));
        assert_eq!(hosts.get(&one), Some(request(&one)), "they take turns");
        hosts.note(&two, &request(&two));
        assert_eq!((hosts.get(&one), hosts.get(&two)), (None, Some(request(&two))));
    }

    #[test]
    fn names_of_apps_spread_over_the_slots() {
        let slots: std::collections::BTreeSet<_> = (0..SLOTS)
            .map(|n| hash(&format!("code--main--dev--user{n}.apps.example.com")))
            .map(|hash| hash >> (u64::BITS - SLOTS.ilog2()))
            .collect();
        // As random numbers would: 1 - 1/e of them are in use.
        assert!(slots.len() > SLOTS * 6 / 10, "{}", slots.len());
        let long = "a".repeat(MAX_LEN + 1);
        let (hosts, request) = (RecentHosts::default(), request("code--dev--alice"));
        hosts.note(&long, &request);
        hosts.note(&long, &request);
        assert_eq!(hosts.get(&long), None);
    }
}
