use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::{Candidate, ProvenInstance};

/// The most live candidates one instance may have before it is refused
///
/// More than these are an error in the database, which an answer would only hide.
pub const MAX_CANDIDATES: usize = 256;

/// Finds the agents that carry an instance id
///
/// An implementation over SQL must issue a single statement, so that the set is a
/// snapshot. A chain of reads can see a build appear between two of them and hand out
/// the token of an old agent.
///
/// An implementation must not read from a replica: a stale read would let an instance
/// sign in as an agent of a build that has been superseded.
///
/// References, [`Arc`]s and boxes of an implementation are implementations too.
/// [`DynCandidates`](crate::DynCandidates) is for those that are chosen while the program runs.
/// The feature `conformance` has these rules as checks for your tests.
pub trait Candidates: Sync {
    /// The type of the tables' primary keys: `Uuid`, `i64`, `String` or the like
    type Id: Clone + fmt::Debug + Eq + Send + Sync + 'static;

    /// The type of the agents' tokens, as they are stored
    type Token: Clone + Eq + Send + Sync + 'static;

    /// Why the candidates could not be read
    type Error: Error + Send + Sync + 'static;

    /// Returns all candidates of `instance`
    ///
    /// Ids are compared byte for byte, with one exception: a UUID, the form of Azure's
    /// ids, is also found where it is stored in upper case. Azure and the tools that
    /// create its machines disagree about case.
    ///
    /// Live candidates come first, then newest first by time of creation. Agents that were
    /// created at the same time are in the same order each time. At most
    /// [`MAX_CANDIDATES`]` + 1` are returned. Because live candidates come first,
    /// earlier builds never push one out, however many there were.
    ///
    /// # Pins
    ///
    /// If the instance has a [moment](ProvenInstance::moment), the same statement also moves pins:
    /// trust on first use. An instance has a pin in each build, which is the newest moment that it
    /// was asked for with. The pins of the builds of its live candidates are set to the moment, if
    /// they do not exist or are older, and each live candidate is returned with the
    /// [pin](Candidate::pinned) of its build. Of two callers at the same time one sees the other's
    /// pin. Moments may be kept to the microsecond. Without a moment no pin is read or moved.
    ///
    /// An implementation that keeps no pins returns candidates without them, which
    /// [`select`](crate::select) refuses where pins are demanded.
    ///
    /// # Errors
    ///
    /// Fails if the candidates cannot be read, or pins cannot be moved. That an instance has no
    /// agent is an empty answer.
    fn by_instance(
        &self,
        instance: ProvenInstance<'_>,
    ) -> impl Future<Output = Result<CandidatesOf<Self>, Self::Error>> + Send;

    /// Deletes pins in builds that are not the newest of an existing workspace, `at_most` so many,
    /// and returns how many it deleted
    ///
    /// No agent of such a build signs in again. By default there are no pins.
    ///
    /// # Errors
    ///
    /// Fails if pins cannot be deleted.
    fn forget_pins(&self, at_most: u32) -> impl Future<Output = Result<u64, Self::Error>> + Send {
        let _ = at_most;
        async { Ok(0) }
    }
}

/// The candidates that an implementation of [`Candidates`] returns
pub type CandidatesOf<C> = Vec<Candidate<<C as Candidates>::Id, <C as Candidates>::Token>>;

macro_rules! through_pointers {
    ($($pointer:ty),*) => {$(
        impl<C: Candidates + Send + ?Sized> Candidates for $pointer {
            type Id = C::Id;
            type Token = C::Token;
            type Error = C::Error;

            fn by_instance(
                &self,
                instance: ProvenInstance<'_>,
            ) -> impl Future<Output = Result<CandidatesOf<C>, C::Error>> + Send {
                C::by_instance(self, instance)
            }

            fn forget_pins(
                &self,
                at_most: u32,
            ) -> impl Future<Output = Result<u64, C::Error>> + Send {
                C::forget_pins(self, at_most)
            }
        }
    )*};
}

through_pointers!(&C, Arc<C>, Box<C>);
