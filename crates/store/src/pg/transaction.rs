//! Writes within a transaction of the program that embeds the store
//!
//! With these functions a record of the audit is committed with what it records, or not at all.
//! They write into the tables of [`Migrations::OwnedOnly`](super::Migrations::OwnedOnly), which
//! must be on the search path of the connection. The connection is of
//! [`diesel_async`] 0.9, from any pool. Nothing is tried again, and nothing about the
//! session is changed: its settings, such as a statement timeout, apply. After an error PostgreSQL
//! accepts no further statement in the transaction.
//!
//! ```no_run
//! use app_audit::{Act, ActKind};
//! use diesel_async::{AsyncConnection, AsyncPgConnection};
//! use store::transaction;
//!
//! # async fn run(connection: &mut AsyncPgConnection, act: Act) -> Result<(), store::Error> {
//! connection
//!     .transaction(async |connection| {
//!         // Statements of your own, and then:
//!         transaction::note_acts(&[act], connection).await
//!     })
//!     .await
//! # }
//! ```

use std::sync::LazyLock;

use app_audit::{Act, Answer, Entry, Groups, Window};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::acts::{NOTE_ACTS, NoteActs};
use super::journal::{NoteVisits, answers};
use super::sql::Sql;
use crate::Error;
use crate::acts::by_id;

/// Records visits, in one statement, and returns which of them began a session
///
/// The same as [`Journal::note`](app_audit::Journal::note), except that nothing is written where a
/// control plane's own page looks for visits. The sessions that are begun or continued stay locked
/// until the transaction ends, and other writers that meet them wait: commit soon. The isolation
/// level should be `READ COMMITTED`; at a higher one, concurrent visits of a session fail with
/// [`Error::Query`].
///
/// # Errors
///
/// [`Error::Query`], [`Error::Unavailable`].
pub async fn note(
    entries: &[Entry],
    window: Window,
    connection: &mut AsyncPgConnection,
) -> Result<Vec<Answer>, Error> {
    let groups = Groups::of(entries, window);
    if groups.rows().is_empty() {
        return Ok(Vec::new());
    }
    let rows = NoteVisits::of(&groups, window, &NOTE_CAREFULLY).load(connection).await?;
    Ok(answers(&groups, rows))
}

/// Records acts, in one statement
///
/// The same as [`ActJournal::note_acts`](app_audit::ActJournal::note_acts).
///
/// # Errors
///
/// [`Error::Query`], [`Error::Unavailable`].
pub async fn note_acts(acts: &[Act], connection: &mut AsyncPgConnection) -> Result<(), Error> {
    if !acts.is_empty() {
        NoteActs::of(&by_id(acts), &NOTE_ACTS).execute(connection).await?;
    }
    Ok(())
}

/// The careful variant: the other may fail for an entry that was recorded before, and a
/// transaction in which a statement failed cannot go on.
static NOTE_CAREFULLY: LazyLock<Sql> =
    LazyLock::new(|| Sql::plain_with(include_str!("sql/note_visits.sql"), &["careful"]));
