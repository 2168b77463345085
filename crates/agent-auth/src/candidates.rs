use std::error::Error;

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
pub trait Candidates: Sync {
    /// Why the candidates could not be read
    type Error: Error + Send + Sync + 'static;

    /// Returns all candidates of `instance`
    ///
    /// Ids are compared byte for byte, with one exception: a UUID, the form of Azure's
    /// ids, is also found where it is stored in upper case. Azure and the tools that
    /// create its machines disagree about case.
    ///
    /// Live candidates come first, then newest first by time of creation. At most
    /// [`MAX_CANDIDATES`]` + 1` are returned. Because live candidates come first,
    /// earlier builds never push one out, however many there were.
    fn by_instance(
        &self,
        instance: ProvenInstance<'_>,
    ) -> impl Future<Output = Result<Vec<Candidate>, Self::Error>> + Send;
}
