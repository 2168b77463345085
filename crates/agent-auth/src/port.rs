use std::error::Error;

use crate::Candidate;

/// The most live candidates one instance may have before it is refused
///
/// Beyond this the database is wrong, not the instance, and an answer would only
/// hide that.
pub const MAX_CANDIDATES: usize = 256;

/// Answers which agents carry an instance id
///
/// One question, one round trip: an implementation over SQL issues a single
/// statement, so that the set is a snapshot. A chain of reads can see a build
/// appear between two of them and hand out the token of an old agent.
///
/// Must not be answered from a replica: a stale read would let an instance sign in
/// as an agent of a build that has been superseded.
pub trait Candidates: Sync {
    /// Why the question could not be answered
    type Error: Error + Send + Sync + 'static;

    /// All candidates of `instance_id`, compared byte for byte
    ///
    /// But a UUID, which is Azure's form, is also found where it is stored in capitals:
    /// the cloud and the tools that create its machines differ in case.
    ///
    /// Live candidates come first, then newest first by time of creation. At most
    /// [`MAX_CANDIDATES`]` + 1` are returned; because live ones come first, an
    /// instance that lived through any number of builds is never cut off by its
    /// own history.
    fn by_instance(
        &self,
        instance_id: &str,
    ) -> impl Future<Output = Result<Vec<Candidate>, Self::Error>> + Send;
}
