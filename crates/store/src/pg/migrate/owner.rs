use std::collections::BTreeSet;

use diesel::result::QueryResult;
use diesel::sql_types::{Array, Bool, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::Serialize;

use super::record::{FORMER_RECORD, RECORD};
use super::{CONTROL_PLANE, Migrations, versions};
use crate::Error;
use crate::pg::PgStore;

/// The owner of the tables of users, workspaces and agents
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// authd created the tables, and there is no control plane
    Authd,
    /// A control plane, as far as can be known: no migration of authd that creates such tables is
    /// recorded
    ControlPlane,
}

impl PgStore {
    /// Returns the owner of the tables of users, workspaces and agents
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`].
    pub async fn owner(&self) -> Result<Owner, Error> {
        let connection = self.writes.get().await?;
        Recorded::read(&connection).await?.owner()
    }

    /// Whether authd may change rows that otherwise only a control plane changes: the tables are
    /// authd's, or the options allow it
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`].
    pub async fn may_change_rows(&self) -> Result<bool, Error> {
        let allowed = self.connector.options().into_control_plane;
        Ok(allowed || self.owner().await? == Owner::Authd)
    }
}

/// The recorded migrations, as far as this user may read the record
#[derive(Debug, Default)]
pub(in crate::pg) struct Recorded {
    versions: BTreeSet<String>,
    /// Whether there is a record that this user may not read
    is_hidden: bool,
}

impl Recorded {
    /// Reads the record, and the one of earlier releases of authd
    #[expect(clippy::disallowed_methods, reason = "an operator asks, and no visitor")]
    pub(in crate::pg) async fn read(mut connection: &AsyncPgConnection) -> QueryResult<Self> {
        let records: Vec<Record> = sql_query(
            "SELECT record.name, has_column_privilege(a.attrelid, a.attnum, 'SELECT') AS reads
             FROM unnest($1) AS record (name)
             JOIN pg_attribute a ON a.attrelid = to_regclass(record.name)
                 AND a.attname = 'version' AND NOT a.attisdropped",
        )
        .bind::<Array<Text>, _>(vec![RECORD, FORMER_RECORD])
        .load(&mut connection)
        .await?;
        let mut recorded = Self::default();
        for Record { name, reads } in records {
            if !reads {
                recorded.is_hidden = true;
                continue;
            }
            let versions = sql_query(format!("SELECT version::text FROM {name}"));
            let versions: Vec<Version> = versions.load(&mut connection).await?;
            recorded.versions.extend(versions.into_iter().map(|row| row.version));
        }
        Ok(recorded)
    }

    /// The owner of the tables, according to the recorded migrations
    pub(in crate::pg) fn owner(&self) -> Result<Owner, Error> {
        let ours = versions([CONTROL_PLANE]).map_err(Error::migration)?;
        Ok(match ours.iter().any(|version| self.versions.contains(version)) {
            true => Owner::Authd,
            false => Owner::ControlPlane,
        })
    }

    /// The number of migrations that authd would apply and that are not recorded; `None` if that
    /// is not known
    pub(in crate::pg) fn pending(&self) -> Result<Option<usize>, Error> {
        let migrations = match self.owner()? {
            _ if self.is_hidden => return Ok(None),
            Owner::Authd => Migrations::All,
            Owner::ControlPlane => Migrations::OwnedOnly,
        };
        let ours = migrations.versions().map_err(Error::migration)?;
        Ok(Some(ours.iter().filter(|version| !self.versions.contains(*version)).count()))
    }
}

#[derive(QueryableByName)]
struct Record {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Bool)]
    reads: bool,
}

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = Text)]
    version: String,
}
