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
pub struct ProvenInstance<'a>(&'a str);

impl<'a> ProvenInstance<'a> {
    /// States that a verified proof names `id`
    ///
    /// Nothing is checked. Pass only an id whose cloud signature has been verified:
    /// with any other, a client receives the session token of an agent it merely names.
    #[must_use]
    pub const fn assume_verified(id: &'a str) -> Self {
        Self(id)
    }

    /// The id as its cloud writes it
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Returns the texts under which the id may be stored, for implementations of [`Candidates`]
    ///
    /// A UUID in its hyphenated form has two: in lower and in upper case. Azure signs one of
    /// them, and the tools that create its machines may have stored the other. Any other id has
    /// one.
    ///
    /// [`Candidates`]: crate::Candidates
    pub fn spellings(self) -> impl Iterator<Item = String> + use<> {
        let is_uuid = self.0.len() == Hyphenated::LENGTH && Uuid::try_parse(self.0).is_ok();
        let (first, capitals) = if is_uuid {
            (self.0.to_ascii_lowercase(), Some(self.0.to_ascii_uppercase()))
        } else {
            (self.0.to_owned(), None)
        };
        let capitals = capitals.filter(|capitals| *capitals != first);
        std::iter::once(first).chain(capitals)
    }
}
