use std::hash::{BuildHasher, RandomState};
use std::sync::{LazyLock, Mutex, PoisonError};

use app_authz::rbac::Permissions;

use crate::domain;

/// Reads a list of permissions out of its JSON, which is remembered
///
/// What members of an organization hold is a row since v2.30 of the control plane, and every
/// visit of theirs brings the same list of some fifty permissions: to read it takes ten times
/// as long as to see that it is the one of a moment ago. The text itself is what is looked
/// for, so a list that has changed is another.
pub(super) fn read(text: &[u8]) -> serde_json::Result<Permissions> {
    static READ: LazyLock<Read> = LazyLock::new(Read::default);
    match text {
        b"[]" => Ok(Permissions::NONE),
        text => READ.permissions(text),
    }
}

/// Lists that were read, each in the one place that its text has
///
/// Another text of that place drives it out, so there are never more than [`PLACES`] and none
/// has to be taken away.
struct Read {
    places: Box<[Mutex<Option<Known>>]>,
    /// With a key of this process's own: nobody can choose whose place a text takes
    hashing: RandomState,
}

struct Known {
    text: Box<[u8]>,
    permissions: Permissions,
}

impl Default for Read {
    fn default() -> Self {
        let places = (0..PLACES).map(|_| Mutex::default()).collect();
        Self { places, hashing: RandomState::new() }
    }
}

impl Read {
    fn permissions(&self, text: &[u8]) -> serde_json::Result<Permissions> {
        let Some(place) = self.place(text) else { return parse(text) };
        let mut known = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_ref().filter(|known| *known.text == *text) {
            return Ok(known.permissions.clone());
        }
        let permissions = parse(text)?;
        *known = Some(Known { text: text.into(), permissions: permissions.clone() });
        Ok(permissions)
    }

    /// Where a list with that text would be; nowhere if it is too long to be kept
    fn place(&self, text: &[u8]) -> Option<&Mutex<Option<Known>>> {
        if text.len() > MAX_LEN {
            return None;
        }
        let place = usize::try_from(self.hashing.hash_one(text)).ok()? % PLACES;
        self.places.get(place)
    }
}

fn parse(text: &[u8]) -> serde_json::Result<Permissions> {
    serde_json::from_slice(text).map(domain::permissions)
}

/// How many lists are remembered: a deployment has a few for each way of sharing, and those of
/// its custom roles
const PLACES: usize = 256;

/// The longest text that is remembered, in bytes; that of a system role has some thousands
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
        let places = read.places.iter();
        places.filter(|place| place.lock().unwrap().is_some()).count()
    }

    #[test]
    fn every_text_is_the_list_it_says() {
        let read = Read::default();
        for _ in 0..3 {
            // More than there are places, so that each drives others out.
            for n in 0..4 * PLACES {
                let action = format!("action-{n}");
                let permissions = read.permissions(list(&action).as_bytes()).unwrap();
                assert_eq!(texts(&permissions), [format!("!task:{action}")]);
            }
        }
        assert!(kept(&read) <= PLACES);
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
