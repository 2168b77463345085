use std::hash::{BuildHasher, RandomState};
use std::sync::{LazyLock, Mutex, PoisonError};

use app_authz::rbac::Permissions;

use crate::domain;

/// Parses a list of permissions from JSON, with a cache
///
/// Since v2.30 of the control plane the permissions of an organization's members are a row, so
/// every visit of a member reads the same list of some fifty permissions. Parsing it takes ten
/// times as long as recognizing it. The cache is keyed by the whole text, so a list that has
/// changed is parsed again.
pub(super) fn read(text: &[u8]) -> serde_json::Result<Permissions> {
    static READ: LazyLock<Read> = LazyLock::new(Read::default);
    match text {
        b"[]" => Ok(Permissions::NONE),
        text => READ.permissions(text),
    }
}

/// Lists that were parsed, each in the one slot that its text hashes to
///
/// A list reslots the one in its slot, so the cache never exceeds [`SLOTS`].
struct Read {
    slots: Box<[Mutex<Option<Known>>]>,
    /// Keyed for this process, so that no user can choose which slot a text takes
    hashing: RandomState,
}

struct Known {
    text: Box<[u8]>,
    permissions: Permissions,
}

impl Default for Read {
    fn default() -> Self {
        let slots = (0..SLOTS).map(|_| Mutex::default()).collect();
        Self { slots, hashing: RandomState::new() }
    }
}

impl Read {
    fn permissions(&self, text: &[u8]) -> serde_json::Result<Permissions> {
        let Some(slot) = self.slot(text) else { return parse(text) };
        let mut known = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_ref().filter(|known| *known.text == *text) {
            return Ok(known.permissions.clone());
        }
        let permissions = parse(text)?;
        *known = Some(Known { text: text.into(), permissions: permissions.clone() });
        Ok(permissions)
    }

    /// The slot of a text; `None` if the text is too long to be cached
    fn slot(&self, text: &[u8]) -> Option<&Mutex<Option<Known>>> {
        if text.len() > MAX_LEN {
            return None;
        }
        let slot = usize::try_from(self.hashing.hash_one(text)).ok()? % SLOTS;
        self.slots.get(slot)
    }
}

fn parse(text: &[u8]) -> serde_json::Result<Permissions> {
    serde_json::from_slice(text).map(domain::permissions)
}

/// The number of slots: a deployment has a few lists for each way of sharing, and those of its
/// custom roles
const SLOTS: usize = 256;

/// The longest text that is cached, in bytes; that of a system role has some thousands
const MAX_LEN: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn list(action: &str) -> String {
        format!("[{{\"negate\": true, \"action\": \"{action}\", \"resource_type\": \"task\"}}]")
    }

    fn texts(permissions: &Permissions) -> Vec<String> {
        permissions.iter().map(ToString::to_string).collect()
    }

    fn kept(read: &Read) -> usize {
        let slots = read.slots.iter();
        slots.filter(|slot| slot.lock().unwrap().is_some()).count()
    }

    #[test]
    fn every_text_is_the_list_it_says() {
        let read = Read::default();
        for _ in 0..3 {
            // More than there are slots, so that each reslots others.
            for n in 0..4 * SLOTS {
                let action = format!("action-{n}");
                let permissions = read.permissions(list(&action).as_bytes()).unwrap();
                assert_eq!(texts(&permissions), [format!("!task:{action}")]);
            }
        }
        assert!(kept(&read) <= SLOTS);
        assert!(texts(&super::read(b"[]").unwrap()).is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_an_error_each_time_and_is_not_kept() {
        let read = Read::default();
        for _ in 0..2 {
            for text in ["", "{}", "[1]", "[{\"negate\": true}]", "[{}] x", "\u{0}"] {
                assert!(read.permissions(text.as_bytes()).is_err(), "{text:?}");
            }
        }
        assert_eq!(kept(&read), 0);
    }

    #[test]
    fn a_long_list_is_read_and_not_kept() {
        let read = Read::default();
        let entries: Vec<String> = (0..1_000)
            .map(|n| list(&format!("action-{n}")).trim_matches(['[', ']']).to_owned())
            .collect();
        let text = format!("[{}]", entries.join(","));
        assert!(text.len() > MAX_LEN);
        for _ in 0..2 {
            assert_eq!(texts(&read.permissions(text.as_bytes()).unwrap()).len(), 1_000);
        }
        assert_eq!(kept(&read), 0);
        read.permissions(list("read").as_bytes()).unwrap();
        assert_eq!(kept(&read), 1);
    }
}
