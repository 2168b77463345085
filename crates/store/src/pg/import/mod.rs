//! Imports: rows are copied into temporary tables, and applied with a few statements for each table
//!
//! The connection is tokio-postgres' own: diesel has no `COPY`, and the tables of each statement
//! are arguments.

mod labels;
mod merge;
mod stage;
mod summary;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use app_audit::Act;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use serde_json::{Map, Value};
use tokio::sync::MutexGuard;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};
use uuid::Uuid;

use self::stage::Staged;
use super::PgStore;
use super::acts::note_in;
use super::connect::{IMPORT_LOCK_TIMEOUT, IMPORT_TIMEOUT, Purpose};
use super::tables::Catalog;
use crate::Error;
use crate::acts::of_import;
use crate::import::{
    Change, Counts, Details, Difference, Import, Name, Named, Outcome, Rows, Session, Table,
};

impl Import for PgStore {
    type Session<'a> = PgImport<'a>;

    async fn begin_import(&self, dry_run: bool) -> Result<PgImport<'_>, Error> {
        let may_change = dry_run || self.may_change_rows().await?;
        let turn = timeout(IMPORT_LOCK_TIMEOUT, self.import.lock()).await;
        let turn = turn.map_err(|_| Error::unavailable("another import is under way"))?;
        let client = self.client_of_import().await?;
        // With another server process, two concurrent imports would find the same rows missing.
        client.batch_execute(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await.map_err(
            |error| match error.code() {
                Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                    Error::unavailable("another import is under way")
                }
                _ => failed(error),
            },
        )?;
        Ok(PgImport {
            store: self,
            client,
            dry_run,
            may_change,
            staged: BTreeMap::new(),
            owners: BTreeMap::new(),
            reported: Vec::new(),
            reading: None,
            applied: Counts::default(),
            _turn: turn,
        })
    }
}

impl PgStore {
    /// A connection for an import or an export, with an open transaction
    pub(super) async fn client_of_import(&self) -> Result<Client, Error> {
        let connector = &self.connector;
        let client = connector.in_time(connector.log_in(Purpose::Import)).await?.client;
        let mut begin = "BEGIN".to_owned();
        if connector.is_pooled() {
            // The pooler has kept the settings from the server. These end with the transaction.
            begin.push_str(&format!(
                "; SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}",
                IMPORT_TIMEOUT.as_millis(),
                IMPORT_LOCK_TIMEOUT.as_millis()
            ));
        }
        client.batch_execute(&begin).await.map_err(failed)?;
        Ok(client)
    }
}

/// An import into PostgreSQL: one transaction on a connection of its own
///
/// If it is dropped, the connection ends, and the server undoes the transaction.
pub struct PgImport<'a> {
    store: &'a PgStore,
    client: Client,
    dry_run: bool,
    /// Whether a change of rows is allowed
    may_change: bool,
    staged: BTreeMap<Table, Staged>,
    /// The tables whose rows of some owners are removed unless they are imported, with the column
    /// of the owner
    owners: BTreeMap<(Table, &'static str), u64>,
    /// The tables with differences that were not returned yet, the next one last
    reported: Vec<Table>,
    /// The table whose differences are being returned
    reading: Option<Table>,
    /// The rows that differ
    applied: Counts,
    _turn: MutexGuard<'a, ()>,
}

impl fmt::Debug for PgImport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgImport").field("staged", &self.staged).finish_non_exhaustive()
    }
}

impl Session for PgImport<'_> {
    async fn find(
        &mut self,
        kind: Named,
        names: &[Name],
        with_deleted: bool,
    ) -> Result<Vec<Option<Uuid>>, Error> {
        let mut found = vec![None; names.len()];
        let parents: Vec<String> = names.iter().map(|name| name.parent.to_string()).collect();
        let names: Vec<&str> = names.iter().map(|name| &*name.name).collect();
        let query = find(kind, with_deleted);
        let rows = self.client.query(&query, &[&parents, &names]).await.map_err(failed)?;
        for row in rows {
            let at: i64 = row.try_get(0).map_err(failed)?;
            let id: &str = row.try_get(1).map_err(failed)?;
            let place = usize::try_from(at - 1).ok().and_then(|at| found.get_mut(at));
            if let (Some(place), Ok(id)) = (place, Uuid::try_parse(id)) {
                *place = Some(id);
            }
        }
        Ok(found)
    }

    async fn stage(&mut self, rows: &Rows) -> Result<(), Error> {
        self.copy(rows).await
    }

    async fn apply(
        &mut self,
        details: Details,
        progress: impl FnMut(u64) + Send,
    ) -> Result<Outcome, Error> {
        let kept = if self.may_change { details } else { Details::First(summary::NAMES) };
        let merged = self.merge(kept, progress).await;
        self.applied = merged.as_ref().map(Outcome::total).unwrap_or_default();
        if self.may_change {
            return merged;
        }
        match merged {
            Ok(outcome) if outcome.total().differences() == 0 => Ok(outcome),
            Ok(outcome) => {
                let mut examples = Vec::new();
                loop {
                    let mut page = self.differences().await?;
                    if page.is_empty() {
                        break;
                    }
                    examples.append(&mut page);
                }
                Err(Error::ControlPlane { changes: summary::of(&outcome, &examples) })
            }
            Err(error @ (Error::RepeatedRow { .. } | Error::Unavailable { .. })) => Err(error),
            // The rows are not known, only the tables that the import would have changed.
            Err(_) => {
                let tables: Vec<&str> = self.staged.keys().map(|table| table.name()).collect();
                Err(Error::ControlPlane { changes: format!("rows of {}", tables.join(", ")) })
            }
        }
    }

    async fn differences(&mut self) -> Result<Vec<Difference>, Error> {
        loop {
            let table = match self.reading {
                Some(table) => table,
                None => match self.reported.pop() {
                    Some(table) => {
                        let open = format!(
                            "DECLARE {CURSOR} NO SCROLL CURSOR FOR {}",
                            labels::changes(table)
                        );
                        self.client.batch_execute(&open).await.map_err(failed)?;
                        self.reading = Some(table);
                        table
                    }
                    None => return Ok(Vec::new()),
                },
            };
            let page = self.rows(&format!("FETCH {PAGE} FROM {CURSOR}")).await?;
            if !page.is_empty() {
                return page.iter().map(|row| difference(table, row)).collect();
            }
            self.client.batch_execute(&format!("CLOSE {CURSOR}")).await.map_err(failed)?;
            self.reading = None;
        }
    }

    /// The one place where the transaction ends
    async fn finish(self, act: Option<Act>) -> Result<(), Error> {
        if self.dry_run || !self.may_change {
            // A dry run is executed and undone, so that it fails where the import would.
            return self.client.batch_execute("ROLLBACK").await.map_err(failed);
        }
        if let Some(act) = act.and_then(|act| of_import(act, self.applied)) {
            // `note_in` takes a connection of diesel's, and the transaction ends next.
            let connection = AsyncPgConnection::try_from(self.client).await;
            let mut connection = connection.map_err(Error::unavailable)?;
            let tables = self.store.connector.tables_of(Catalog::read(&connection).await?);
            note_in(&act, &tables, &mut connection).await?;
            return Ok(connection.batch_execute("COMMIT").await?);
        }
        self.client.batch_execute("COMMIT").await.map_err(failed)
    }
}

impl PgImport<'_> {
    /// The rows that a statement returns, as text
    async fn rows(&self, statement: &str) -> Result<Vec<SimpleQueryRow>, Error> {
        rows(&self.client, statement).await
    }
}

/// The rows that a statement returns, as text
pub(super) async fn rows(client: &Client, statement: &str) -> Result<Vec<SimpleQueryRow>, Error> {
    let messages = client.simple_query(statement).await.map_err(failed)?;
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    };
    Ok(messages.into_iter().filter_map(row).collect())
}

/// The columns of a table
pub(super) async fn columns(client: &Client, table: Table) -> Result<BTreeSet<String>, Error> {
    let query = format!(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('{}')
         AND attnum > 0 AND NOT attisdropped",
        table.name()
    );
    let found = rows(client, &query).await?;
    Ok(found.iter().filter_map(|row| row.get(0).map(str::to_owned)).collect())
}

/// A row of [`labels::changes`]
fn difference(table: Table, row: &SimpleQueryRow) -> Result<Difference, Error> {
    let object = |column| -> Result<Option<Map<String, Value>>, Error> {
        let text = row.get(column).map(serde_json::from_str);
        text.transpose().map_err(Error::invalid_row)
    };
    let (is, should) = (object(0)?, object(1)?);
    let keep = row.get(2).and_then(|keep| keep.parse().ok()).unwrap_or_default();
    let label = row.get(3).map(str::to_owned);
    let found = match (&is, &should) {
        (is, Some(should)) => Difference::between(table, keep, is.as_ref(), should),
        (Some(is), None) => Some(Difference::of(table, is, Change::Removed)),
        (None, None) => None,
    };
    // The two forms of a value that PostgreSQL does not take for equal have one text in JSON.
    let same = || {
        let row = should.clone().unwrap_or_default();
        Difference::of(table, &row, Change::Changed(Vec::new()))
    };
    Ok(found.unwrap_or_else(same).labelled(label))
}

/// The ids of names: `$1` parents, `$2` names; returns the position from 1 and the id
fn find(kind: Named, with_deleted: bool) -> String {
    let (table, on) = match kind {
        Named::Organization => ("organizations", "t.name = n.name"),
        // An index has the names in lower case.
        Named::User => ("users", "lower(t.username) = n.name"),
        Named::Group => ("groups", "t.organization_id = n.parent::uuid AND t.name = n.name"),
        Named::Template => ("templates", "t.organization_id = n.parent::uuid AND t.name = n.name"),
    };
    // A group has no such column.
    let (live, order) = match (kind, with_deleted) {
        (Named::Group, _) => ("", ""),
        (_, true) => ("", "t.deleted, "),
        (_, false) => ("AND NOT t.deleted", ""),
    };
    format!(
        "SELECT DISTINCT ON (n.at) n.at, t.id::text
         FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (parent, name, at)
         JOIN {table} t ON {on} {live}
         ORDER BY n.at, {order}t.id"
    )
}

/// An error of the driver, without the values of rows
pub(super) fn failed(error: tokio_postgres::Error) -> Error {
    let Some(refused) = error.as_db_error() else { return Error::unavailable(error) };
    let (code, message) = (refused.code(), refused.message().to_owned());
    // 57P: the server is shutting down, or ended this connection.
    match TRANSIENT.contains(code) || code.code().starts_with("57P") {
        true => Error::unavailable(message),
        false => Error::query(message),
    }
}

/// Refusals that are not the fault of the rows: the same import may succeed later
const TRANSIENT: [SqlState; 5] = [
    SqlState::LOCK_NOT_AVAILABLE,
    SqlState::QUERY_CANCELED,
    SqlState::READ_ONLY_SQL_TRANSACTION,
    SqlState::T_R_DEADLOCK_DETECTED,
    SqlState::T_R_SERIALIZATION_FAILURE,
];

/// Key of an advisory lock; "authmp" in ASCII
const LOCK: i64 = 0x6175_7468_6d70;

const CURSOR: &str = "authd_import_differences";

const PAGE: u32 = 1_000;
