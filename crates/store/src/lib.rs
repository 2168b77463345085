#![doc = include_str!("../README.md")]

mod error;
pub mod fleet;
pub mod import;
mod journal;
mod memory;
#[cfg(feature = "postgres")]
mod pg;

use agent_auth::Candidates;
use app_audit::Journal;

pub use crate::error::Error;
pub use crate::memory::MemoryStore;
#[cfg(feature = "cluster")]
pub use crate::pg::cluster;
#[cfg(feature = "postgres")]
pub use crate::pg::{Migrations, Options, PgStore, SessionRow, StatementCounter};

/// Everything that authd asks of a database: the sum of the ports
pub trait Store:
    Candidates<Error = Error> + Journal<Error = Error> + Send + Sync + 'static
{
    /// Whether questions can be answered now
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], within a second.
    fn ping(&self) -> impl Future<Output = Result<(), Error>> + Send;
}
