use std::error::Error;
use std::time::Duration;

use uuid::Uuid;

use crate::Act;

/// Writes acts
pub trait ActJournal: Send + Sync {
    /// Why acts could not be written
    type Error: Error + Send + Sync + 'static;

    /// Writes all acts or none
    ///
    /// An act whose [`id`](Act::id) is written already adds its [`times`](Act::times) to the row,
    /// unless the row is from the same request: a caller that does not know whether an act was
    /// written writes it again. Acts with the same id in one call count together.
    fn note_acts(&self, acts: &[Act]) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Adds to the `times` of rows that exist
    ///
    /// Unlike acts, counts that are passed again are added again.
    fn count_acts(
        &self,
        counts: &[(Uuid, u64)],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Deletes at most `at_most` acts that are older than `keep`, and returns how many it deleted
    fn forget_acts(
        &self,
        keep: Duration,
        at_most: u32,
    ) -> impl Future<Output = Result<u64, Self::Error>> + Send;

    /// Returns whether acts can be written at all: the table exists, this program may write to it,
    /// and the database is not a standby
    fn records_acts(&self) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Returns whether the journal was unavailable, so that the same call may succeed later
    fn is_unavailable(error: &Self::Error) -> bool;
}
