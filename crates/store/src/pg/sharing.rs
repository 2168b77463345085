//! The rows of `authd_shares`

use std::sync::{Arc, LazyLock};

use app_audit::Act;
use app_authz::id::{GroupId, NameOrId, OrganizationId};
use app_authz::{UserId, WorkspaceId};
use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::PgStore;
use super::acts::note_in;
use super::connect::Connection;
use super::sql::Sql;
use super::tables::{Need, Tables};
use crate::Error;
use crate::facts::Question;
use crate::sharing::{
    Changed, Edit, FoundPeople, MAX_PEOPLE, ShareChange, ShareRow, Sharing, columns_of, person,
};

impl Sharing for PgStore {
    async fn find_people(
        &self,
        organization: OrganizationId,
        users: &[String],
        groups: &[String],
    ) -> Result<FoundPeople, Error> {
        let names = |texts: &[String], lower: bool| {
            let (mut names, mut ids) = (Vec::new(), Vec::new());
            for text in texts {
                let (name, id) = match NameOrId::from(&**text) {
                    NameOrId::Id(id) => (None, Some(id)),
                    // No text in PostgreSQL has a null character.
                    NameOrId::Name(name) if name.contains('\0') => (None, None),
                    NameOrId::Name(name) if lower => (Some(name.to_lowercase()), None),
                    NameOrId::Name(name) => (Some(name.to_owned()), None),
                };
                names.push(name);
                ids.push(id);
            }
            (names, ids)
        };
        let ((user_names, user_ids), (group_names, group_ids)) =
            (names(users, true), names(groups, false));
        let find = FindPeople {
            sql: &FIND,
            user_names,
            user_ids,
            group_names,
            group_ids,
            organization: organization.0,
        };
        let mut connection = self.writes.get().await?;
        let rows: Vec<(bool, i64, Uuid, bool)> = find.load(&mut *connection).await?;
        let mut found =
            FoundPeople { users: vec![None; users.len()], groups: vec![None; groups.len()] };
        for (is_group, n, id, is_member) in rows {
            let at = usize::try_from(n).unwrap_or_default().saturating_sub(1);
            match is_group {
                true => found.groups[at] = Some(GroupId(id)),
                false => found.users[at] = Some((UserId(id), is_member)),
            }
        }
        Ok(found)
    }

    async fn shares(&self, workspace: Option<WorkspaceId>) -> Result<Vec<ShareRow>, Error> {
        let workspace = workspace.map(|WorkspaceId(id)| id);
        let rows = self.reads.run(async |connection: Arc<Connection>| {
            let list = ListShares { sql: &LIST, workspace };
            list.load::<ShareRow>(&mut &connection.inner).await
        });
        rows.await
    }

    async fn write_shares(
        &self,
        change: &ShareChange,
        act: &Act,
    ) -> Result<Option<Changed>, Error> {
        let is_removal = change.edit == Edit::Remove;
        let (are_groups, people) = change.people.iter().copied().map(columns_of).unzip();
        let write = WriteShares {
            sql: &WRITE,
            workspace: change.workspace.0,
            agent: &change.agent,
            slug_or_port: &change.slug_or_port,
            are_groups,
            people,
            removes_others: change.edit == Edit::Set,
            removes: is_removal,
            at: change.at.into(),
            by: change.by.map(|UserId(id)| id),
        };
        let in_turn = async |connection: &mut AsyncPgConnection, tables: &Tables| {
            let written = connection.transaction(async |connection| {
                let lock = LockShares { sql: &LOCK, workspace: change.workspace.0 };
                lock.execute(connection).await?;
                let rows: Vec<(bool, bool, Option<Uuid>, i64)> = write.load(connection).await?;
                let (mut changed, mut before) = (Changed::default(), 0);
                for (is_added, is_group, id, count) in rows {
                    let Some(id) = id else {
                        before = usize::try_from(count).unwrap_or(usize::MAX);
                        continue;
                    };
                    match is_added {
                        true => changed.added.push(person(is_group, id)),
                        false => changed.removed.push(person(is_group, id)),
                    }
                }
                let after = (before + changed.added.len()).saturating_sub(changed.removed.len());
                if after > MAX_PEOPLE && !changed.added.is_empty() {
                    return Err(Refused::TooMany);
                }
                if !changed.is_empty() {
                    NotifyShares { sql: &NOTIFY, workspace: change.workspace.0.to_string() }
                        .execute(connection)
                        .await?;
                    note_in(&changed.of_act(act, change), tables, connection).await?;
                }
                Ok(changed)
            });
            match written.await {
                Ok(changed) => Ok(Some(changed)),
                Err(Refused::TooMany) => Ok(None),
                Err(Refused::Failed(error)) => Err(error),
            }
        };
        self.writes.ask_by_tables(Question::Other, in_turn).await
    }
}

/// Why a transaction is undone
enum Refused {
    TooMany,
    Failed(diesel::result::Error),
}

impl From<diesel::result::Error> for Refused {
    fn from(error: diesel::result::Error) -> Self {
        Self::Failed(error)
    }
}

statement! {
    /// The people with these names: `find_people.sql`
    struct FindPeople<'a> {
        organization: Uuid as SqlUuid,
        user_names: Vec<Option<String>> as Array<Nullable<Text>>,
        user_ids: Vec<Option<Uuid>> as Array<Nullable<SqlUuid>>,
        group_names: Vec<Option<String>> as Array<Nullable<Text>>,
        group_ids: Vec<Option<Uuid>> as Array<Nullable<SqlUuid>>,
    } -> (Bool, BigInt, SqlUuid, Bool)
}

statement! {
    /// The shares of a workspace, or of all: `list_shares.sql`
    struct ListShares<'a> {
        workspace: Option<Uuid> as Nullable<SqlUuid>,
    } -> (
        SqlUuid,
        Nullable<Text>,
        Text,
        Text,
        Bool,
        SqlUuid,
        Nullable<Text>,
        Timestamptz,
        Nullable<SqlUuid>,
    )
}

statement! {
    /// Makes changes of one workspace take turns
    struct LockShares<'a> {
        workspace: Uuid as SqlUuid,
    }
}

statement! {
    /// Changes with whom an app or a port is shared: `write_shares.sql`
    struct WriteShares<'a> {
        are_groups: Vec<bool> as Array<Bool>,
        people: Vec<Uuid> as Array<SqlUuid>,
        workspace: Uuid as SqlUuid,
        agent: &'a str as Text,
        slug_or_port: &'a str as Text,
        removes: bool as Bool,
        removes_others: bool as Bool,
        at: DateTime<Utc> as Timestamptz,
        by: Option<Uuid> as Nullable<SqlUuid>,
    } -> (Bool, Bool, Nullable<SqlUuid>, BigInt)
}

statement! {
    /// Notifies listeners of `authd_shares` once the transaction is committed
    struct NotifyShares<'a> {
        workspace: String as Text,
    }
}

static FIND: LazyLock<Sql> = LazyLock::new(|| Sql::plain(include_str!("sql/find_people.sql")));

static LIST: LazyLock<Sql> = LazyLock::new(|| Sql::plain(include_str!("sql/list_shares.sql")));

static WRITE: LazyLock<Sql> = LazyLock::new(|| Sql::plain(include_str!("sql/write_shares.sql")));

static LOCK: LazyLock<Sql> = LazyLock::new(|| {
    Sql::plain(
        "SELECT pg_advisory_xact_lock(hashtextextended('authd_shares ' || $1::uuid::text, 0))",
    )
});

static NOTIFY: LazyLock<Sql> =
    LazyLock::new(|| Sql::plain("SELECT pg_notify('authd_shares', $1::text)"));

/// The rights that changes and lists of shares need
pub(super) const SHARES: &[Need] = &[
    Need::select("users", "id username deleted"),
    Need::select("organization_members", "organization_id user_id"),
    Need::select("groups", "id name organization_id"),
    Need::select("workspaces", "id name owner_id deleted"),
    Need::select(
        "authd_shares",
        "workspace_id agent_name slug_or_port is_group person_id created_at created_by",
    ),
    Need::insert(
        "authd_shares",
        "workspace_id agent_name slug_or_port is_group person_id created_at created_by",
    ),
    Need::delete("authd_shares"),
    // Of the table's triggers.
    Need::insert("authd_revocations", "reason user_id workspace_id app"),
    Need::select("authd_revocations", "id at"),
    Need::update("authd_revocations", "at"),
    Need::delete("authd_revocations"),
];
