#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod acts;
pub mod authorized;
mod domain;
#[cfg(feature = "postgres")]
mod encryption;
mod error;
pub mod export;
pub mod facts;
pub mod fleet;
pub mod import;
#[cfg(feature = "postgres")]
pub mod inspection;
pub mod listing;
mod memory;
#[cfg(feature = "postgres")]
mod pg;
mod pointers;
pub mod provider;
pub mod refresh;
pub mod releases;
pub mod revocations;
pub mod sharing;

use agent_auth::Candidates;
use app_audit::{ActJournal, ActLog, AuditExplorer, AuditLog, Journal};
use app_authz::Directory;
use app_authz::credential::Sessions;
use app_authz::jobs::Jobs;
use app_authz::proxy::Proxies;
use app_authz::token::{KeyStore, Rotation};
use uuid::Uuid;

use crate::authorized::Rows;
#[cfg(feature = "postgres")]
pub use crate::encryption::EncryptionKeys;
#[cfg(feature = "postgres")]
pub use crate::error::Unfit;
pub use crate::error::{Cause, Error};
use crate::facts::Facts;
use crate::import::Import;
use crate::listing::Listing;
pub use crate::memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use crate::pg::{
    ActiveKey, AuditMonth, FormerRecord, Generation, Grants, Migrated, Migrations, Opening,
    Options, Owned, Owner, PgStore, Pooling, Right, Session, SessionRow, StatementCounter,
    transaction,
};
use crate::provider::ProviderSessions;
use crate::refresh::LinkTokens;
use crate::revocations::Revocations;
use crate::sharing::Sharing;

/// The most rows that a list for an operator has
pub const MAX_LISTED: usize = 10_000;

/// Everything that authd needs of a database: the sum of the ports
pub trait Store:
    ActJournal<Error = Error>
    + ActLog<Error = Error>
    + AuditExplorer
    + AuditLog<Error = Error>
    + Candidates<Id = Uuid, Token = Uuid, Error = Error>
    + Directory<Error = Error>
    + Import
    + Jobs<Error = Error>
    + Journal<Error = Error>
    + KeyStore<Error = Error>
    + LinkTokens
    + Listing
    + ProviderSessions
    + Proxies<Error = Error>
    + Revocations
    + Rows
    + Rotation<Error = Error>
    + Sessions<Error = Error>
    + Sharing
    + Send
    + Sync
    + 'static
{
    /// Checks that the database answers, and that the control plane's tables fit
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], within a second. `Error::Tables` while the control plane's
    /// tables lack something that the parts of authd that are on read.
    fn ping(&self) -> impl Future<Output = Result<(), Error>> + Send;

    /// The same as [`ping`](Self::ping), for monitoring that asks regularly
    ///
    /// Delays no other question, and does not count among the statements of the store.
    ///
    /// # Errors
    ///
    /// Those of [`ping`](Self::ping).
    fn probe(&self) -> impl Future<Output = Result<(), Error>> + Send {
        self.ping()
    }

    /// Counts and times of the store's work so far, for metrics
    ///
    /// Asks nothing. A store that counts nothing returns nothing.
    fn facts(&self) -> Facts {
        Facts::default()
    }
}
