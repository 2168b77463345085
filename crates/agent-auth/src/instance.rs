use std::time::SystemTime;

use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// An instance id that a verified proof names
///
/// The only argument of [`Candidates::by_instance`], so that an id which a client merely
/// claims is not looked up by accident. This crate does not verify proofs, so the caller
/// states that one was verified: search for `assume_verified` to review every place that
/// does.
///
/// [`Candidates::by_instance`]: crate::Candidates::by_instance
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProvenInstance<'a> {
    id: &'a str,
    moment: Option<SystemTime>,
}

impl<'a> ProvenInstance<'a> {
    /// States that a verified proof names `id`
    ///
    /// Nothing is checked. Pass only an id whose cloud signature has been verified:
    /// with any other, a client receives the session token of an agent it merely names.
    #[must_use]
    pub const fn assume_verified(id: &'a str) -> Self {
        Self { id, moment: None }
    }

    /// Returns the same instance, whose [pins](crate::Candidate::pinned) are to be moved to the
    /// moment that the cloud signed with the proof
    ///
    /// Pass a moment of the verified proof, and none that the client states.
    #[must_use]
    pub const fn pinning(self, signed_at: SystemTime) -> Self {
        Self { moment: Some(signed_at), ..self }
    }

    /// The moment to which pins are to be moved; `None` if pins are left as they are
    #[must_use]
    pub const fn moment(self) -> Option<SystemTime> {
        self.moment
    }

    /// The id as its cloud writes it
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.id
    }

    /// Returns the texts under which the id may be stored, for implementations of [`Candidates`]
    ///
    /// A UUID in its hyphenated form has two: in lower and in upper case. Azure signs one of
    /// them, and the tools that create its machines may have stored the other. Any other id has
    /// one. The first is the same for each of them, so it can stand for the instance in a table of
    /// pins.
    ///
    /// [`Candidates`]: crate::Candidates
    pub fn spellings(self) -> impl Iterator<Item = String> + use<> {
        let is_uuid = self.id.len() == Hyphenated::LENGTH && Uuid::try_parse(self.id).is_ok();
        let (first, capitals) = if is_uuid {
            (self.id.to_ascii_lowercase(), Some(self.id.to_ascii_uppercase()))
        } else {
            (self.id.to_owned(), None)
        };
        let capitals = capitals.filter(|capitals| *capitals != first);
        std::iter::once(first).chain(capitals)
    }
}
