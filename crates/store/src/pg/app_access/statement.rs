use diesel::sql_types::{Array, Integer, Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::{Batch, Columns, NamedPlace};
use crate::pg::sql::Sql;

statement! {
    /// Places by the names of owner and workspace, and holders of keys: `app_by_name.sql`
    pub(super) struct ByName<'a> {
        owner_names: Vec<Option<&'a str>> as Array<Nullable<Text>>,
        workspace_names: Vec<Option<&'a str>> as Array<Nullable<Text>>,
        slugs: Vec<Option<&'a str>> as Array<Nullable<Text>>,
        ports: Vec<Option<i32>> as Array<Nullable<Integer>>,
        tokens: &'a [&'a str] as Array<Text>,
    } -> Columns
}

statement! {
    /// Places by the names or ids of owner and workspace, and holders of keys: `app_by_id.sql`
    pub(super) struct ById<'a> {
        owner_names: Vec<Option<&'a str>> as Array<Nullable<Text>>,
        workspace_names: Vec<Option<&'a str>> as Array<Nullable<Text>>,
        slugs: Vec<Option<&'a str>> as Array<Nullable<Text>>,
        ports: Vec<Option<i32>> as Array<Nullable<Integer>>,
        tokens: &'a [&'a str] as Array<Text>,
        owner_ids: Vec<Option<Uuid>> as Array<Nullable<SqlUuid>>,
        workspace_ids: Vec<Option<Uuid>> as Array<Nullable<SqlUuid>>,
    } -> Columns
}

statement! {
    /// Places by their agents, and holders of keys: `terminal.sql`
    pub(super) struct ByAgent<'a> {
        agents: Vec<Uuid> as Array<SqlUuid>,
        tokens: &'a [&'a str] as Array<Text>,
    } -> Columns
}

impl<'a> ByName<'a> {
    pub(super) fn of(batch: &'a Batch<'a, NamedPlace>, sql: &'a Sql) -> Self {
        Self {
            sql,
            owner_names: batch.column(|place| place.owner.name.as_deref()),
            workspace_names: batch.column(|place| place.workspace.name.as_deref()),
            slugs: batch.column(|place| place.slug.as_deref()),
            ports: batch.column(|place| place.port.map(i32::from)),
            tokens: &batch.tokens,
        }
    }
}

impl<'a> ById<'a> {
    pub(super) fn of(batch: &'a Batch<'a, NamedPlace>, sql: &'a Sql) -> Self {
        let ByName { owner_names, workspace_names, slugs, ports, tokens, .. } =
            ByName::of(batch, sql);
        Self {
            sql,
            owner_names,
            workspace_names,
            slugs,
            ports,
            tokens,
            owner_ids: batch.column(|place| place.owner.id),
            workspace_ids: batch.column(|place| place.workspace.id),
        }
    }
}
