use app_authz::id::{AppId, OrganizationId};
use app_authz::rbac::ObjectId;
use diesel::deserialize::{self, FromSql};
use diesel::pg::{Pg, PgValue};
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Record, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::places::{PlaceColumns, PlaceRow};
use super::tables::Statement;
use crate::Error;
use crate::listing::{Health, ListQuery, ListedApp, ListedWorkspace, Listing};

impl Listing for PgStore {
    async fn listed(&self, asked: &ListQuery) -> Result<Vec<ListedWorkspace>, Error> {
        // It may read a lot, which would delay other users of a shared connection.
        let mut connection = self.writes.get().await?;
        let tables = connection.tables();
        let ListQuery { openable, search, after, limit } = asked;
        let page = ListedWorkspaces {
            sql: tables.sql(Statement::ListedWorkspaces)?,
            ids: openable.ids.as_deref().map(uuids),
            everything: openable.everything,
            organizations: organizations(&openable.organizations),
            user: openable.user.0,
            own: organizations(&openable.own_in_organizations),
            shared: organizations(&openable.shared_in_organizations),
            own_shared: organizations(&openable.own_shared_in_organizations),
            user_key: openable.user.to_string(),
            group_keys: openable.groups.iter().map(ToString::to_string).collect(),
            actions: vec![openable.action.to_string(), "*".to_owned()],
            search,
            is_of_other: after.as_ref().is_some_and(|after| after.is_of_other),
            after_owner: after.as_ref().map_or("", |after| &after.owner),
            after_name: after.as_ref().map_or("", |after| &after.workspace),
            limit: (*limit).into(),
        };
        let rows: Vec<(PlaceRow, Vec<AppRow>)> = page.load(&mut *connection).await?;
        let listed = rows.into_iter().map(|(place, apps)| {
            let mut facts = place.place(None);
            // An agent is in the row of each of its apps.
            facts.agents.dedup_by_key(|agent| agent.id);
            ListedWorkspace { facts, apps: apps.into_iter().map(|AppRow(app)| app).collect() }
        });
        Ok(listed.collect())
    }
}

statement! {
    /// A page of workspaces with their apps: `listed_workspaces.sql`
    struct ListedWorkspaces<'a> {
        ids: Option<Vec<Uuid>> as Nullable<Array<SqlUuid>>,
        everything: bool as Bool,
        organizations: Vec<Uuid> as Array<SqlUuid>,
        user: Uuid as SqlUuid,
        own: Vec<Uuid> as Array<SqlUuid>,
        shared: Vec<Uuid> as Array<SqlUuid>,
        own_shared: Vec<Uuid> as Array<SqlUuid>,
        user_key: String as Text,
        group_keys: Vec<String> as Array<Text>,
        actions: Vec<String> as Array<Text>,
        search: &'a str as Text,
        is_of_other: bool as Bool,
        after_owner: &'a str as Text,
        after_name: &'a str as Text,
        limit: i64 as BigInt,
    } -> (PlaceColumns, Array<AppColumns>)
}

type AppColumns = Record<(SqlUuid, Text, Bool, Text)>;

#[derive(Debug)]
struct AppRow(ListedApp);

impl FromSql<AppColumns, Pg> for AppRow {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let (id, display_name, is_on_own_host, health): (Uuid, String, bool, String) =
            FromSql::<AppColumns, Pg>::from_sql(value)?;
        let health = Health::of(&health);
        Ok(Self(ListedApp { id: AppId(id), display_name, is_on_own_host, health }))
    }
}

pub(super) fn organizations(ids: &[OrganizationId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.0).collect()
}

/// The ids that rows of a table can have
pub(super) fn uuids(ids: &[ObjectId]) -> Vec<Uuid> {
    ids.iter().filter_map(|id| Uuid::try_parse(&id.to_string()).ok()).collect()
}
