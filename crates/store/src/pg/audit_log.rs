use std::time::SystemTime;

use app_audit::{App, AuditLog, Decision, Filter, Page, Row};
use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{
    BigInt, HasSqlType, Integer, Jsonb, Nullable, SqlType, Text, Timestamptz, Uuid as SqlUuid,
    is_nullable::NotNull,
};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use super::PgStore;
use super::tables::Need;
use crate::Error;

impl AuditLog for PgStore {
    type Error = Error;

    /// Runs among the writes: a reader with all the time in the world must not keep
    /// sign-ins waiting
    async fn list(&self, filter: &Filter, page: Page) -> Result<Vec<Row>, Error> {
        let Some(list) = List::of(filter, page) else { return Ok(Vec::new()) };
        let rows: Vec<Columns> =
            self.writes.run(async |connection| list.load(connection).await).await?;
        Ok(rows.into_iter().map(Row::from).collect())
    }
}

/// A page of the log, in one statement
///
/// There is one text for each column that an index leads with, and the filter's most
/// telling one is chosen. What else is asked for is looked at row by row, and what is not
/// asked for is null. So few texts are ever prepared. PostgreSQL goes on planning them for
/// the values at hand, which it finds far cheaper here than a plan for any.
pub(super) struct List<'a> {
    lead: Lead,
    ids: [(Lead, &'static str, Option<Uuid>); 6],
    slug: Option<&'a str>,
    decision: Option<&'static str>,
    /// The page comes after this place: where the last ended, or where the filter begins
    before: (DateTime<Utc>, Uuid),
    from: DateTime<Utc>,
    limit: i64,
}

/// The columns that indices lead with, the most telling first
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lead {
    Request,
    Session,
    App,
    Workspace,
    User,
    Slug,
    Denied,
    Organization,
    Time,
}

impl<'a> List<'a> {
    /// Nothing, if there can be no such row
    pub(super) fn of(filter: &'a Filter, page: Page) -> Option<Self> {
        let (app, slug) = match &filter.app {
            Some(App::Id(id)) => (Some(id.0), None),
            Some(App::Slug(slug)) => (None, Some(slug.as_str())),
            None => (None, None),
        };
        // No text in PostgreSQL holds this byte, and asking would be an error.
        if slug.is_some_and(|slug| slug.contains('\0')) {
            return None;
        }
        let ids = [
            (Lead::Request, "request_id", filter.request),
            (Lead::Session, "session_id", filter.session),
            (Lead::App, "resource_id", app),
            (Lead::Workspace, "workspace_id", filter.workspace.map(|id| id.0)),
            (Lead::User, "user_id", filter.user.map(|id| id.0)),
            (Lead::Organization, "organization_id", filter.organization.map(|id| id.0)),
        ];
        let given = |lead: &Lead| match lead {
            Lead::Slug => slug.is_some(),
            Lead::Denied => filter.decision == Some(Decision::Deny),
            lead => ids.iter().any(|(of, _, id)| of == lead && id.is_some()),
        };
        let to = filter.to.map(|to| (known(to), Uuid::nil()));
        let after = page.cursor().map(|cursor| (known(cursor.time()), cursor.id()));
        Some(Self {
            lead: LEADS.into_iter().find(given).unwrap_or(Lead::Time),
            ids,
            slug,
            decision: filter.decision.map(Decision::as_str),
            before: to.into_iter().chain(after).min().unwrap_or_else(|| (latest(), Uuid::max())),
            from: known(filter.from.unwrap_or(EARLIEST)),
            limit: page.limit().into(),
        })
    }
}

impl QueryFragment<Pg> for List<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "\
SELECT id, session_id, \"time\", user_id, organization_id, workspace_id, host(ip), user_agent,
       resource_type::text, resource_id, resource_target, action::text, status_code,
       decision::text, reason, request_id, additional_fields
FROM authd_audit_log
WHERE (\"time\", id) < (",
        );
        out.push_bind_param::<Timestamptz, _>(&self.before.0)?;
        out.push_sql(", ");
        out.push_bind_param::<SqlUuid, _>(&self.before.1)?;
        out.push_sql(") AND \"time\" >= ");
        out.push_bind_param::<Timestamptz, _>(&self.from)?;
        for (lead, column, id) in &self.ids {
            out.push_sql("\n  AND ");
            self.agrees::<SqlUuid, _>(&mut out, *lead, column, id)?;
            if *lead == Lead::Session && self.lead == Lead::Session {
                // A row of a session's beginning has its id, and one of its end an id that
                // is made of it, so they need no index of their own.
                out.push_sql(" AND id IN (");
                out.push_bind_param::<Nullable<SqlUuid>, _>(id)?;
                out.push_sql(", md5('close ' || ");
                out.push_bind_param::<Nullable<SqlUuid>, _>(id)?;
                out.push_sql(")::uuid)");
            }
        }
        out.push_sql("\n  AND ");
        self.agrees::<Text, _>(&mut out, Lead::Slug, "resource_target", &self.slug)?;
        out.push_sql("\n  AND ");
        if self.lead == Lead::Denied {
            // As the index says it.
            out.push_sql("decision = 'deny'");
        } else {
            self.agrees::<Text, _>(&mut out, Lead::Denied, "decision::text", &self.decision)?;
        }
        out.push_sql("\nORDER BY \"time\" DESC, id DESC LIMIT ");
        out.push_bind_param::<BigInt, _>(&self.limit)
    }
}

impl List<'_> {
    /// Says that a column is as asked, if it is asked for
    fn agrees<'b, T, U>(
        &'b self,
        out: &mut AstPass<'_, 'b, Pg>,
        lead: Lead,
        column: &str,
        asked: &'b Option<U>,
    ) -> QueryResult<()>
    where
        T: SqlType<IsNull = NotNull>,
        Nullable<T>: SqlType,
        Pg: HasSqlType<Nullable<T>>,
        Option<U>: ToSql<Nullable<T>, Pg>,
    {
        if self.lead != lead {
            out.push_sql("(");
            out.push_bind_param::<Nullable<T>, _>(asked)?;
            out.push_sql(" IS NULL OR ");
        }
        out.push_sql(column);
        out.push_sql(" = ");
        out.push_bind_param::<Nullable<T>, _>(asked)?;
        if self.lead != lead {
            out.push_sql(")");
        }
        Ok(())
    }
}

impl QueryId for List<'_> {
    type QueryId = ();

    // There are several texts, and each is prepared once per connection.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for List<'_> {
    type SqlType = (
        SqlUuid,
        Nullable<SqlUuid>,
        Timestamptz,
        SqlUuid,
        SqlUuid,
        SqlUuid,
        Nullable<Text>,
        Nullable<Text>,
        Text,
        SqlUuid,
        Text,
        Text,
        Integer,
        Text,
        Text,
        SqlUuid,
        Jsonb,
    );
}

/// The columns of the select
#[derive(Queryable)]
struct Columns {
    id: Uuid,
    session_id: Option<Uuid>,
    time: DateTime<Utc>,
    user_id: Uuid,
    organization_id: Uuid,
    workspace_id: Uuid,
    ip: Option<String>,
    user_agent: Option<String>,
    resource_type: String,
    resource_id: Uuid,
    resource_target: String,
    action: String,
    status_code: i32,
    decision: String,
    reason: String,
    request_id: Uuid,
    additional_fields: Value,
}

impl From<Columns> for Row {
    fn from(columns: Columns) -> Self {
        let decision = match columns.decision.as_str() {
            "allow" => Decision::Allow,
            _ => Decision::Deny,
        };
        let mut row = Self::new(columns.id, columns.time.into(), decision);
        row.session_id = columns.session_id;
        row.user_id = columns.user_id;
        row.organization_id = columns.organization_id;
        row.workspace_id = columns.workspace_id;
        row.ip = columns.ip.and_then(|ip| ip.parse().ok());
        row.user_agent = columns.user_agent;
        row.resource_type = columns.resource_type;
        row.resource_id = columns.resource_id;
        row.resource_target = columns.resource_target;
        row.action = columns.action;
        row.status_code = columns.status_code;
        row.reason = columns.reason;
        row.request_id = columns.request_id;
        row.additional_fields = columns.additional_fields;
        row
    }
}

/// The time, as far as a database and RFC 3339 have words for it
fn known(time: SystemTime) -> DateTime<Utc> {
    DateTime::from(time.max(EARLIEST).min(latest().into()))
}

/// The end of the year 9999
fn latest() -> DateTime<Utc> {
    DateTime::from_timestamp(253_402_300_799, 0).unwrap_or(DateTime::UNIX_EPOCH)
}

const LEADS: [Lead; 8] = [
    Lead::Request,
    Lead::Session,
    Lead::App,
    Lead::Workspace,
    Lead::User,
    Lead::Slug,
    Lead::Denied,
    Lead::Organization,
];

const EARLIEST: SystemTime = SystemTime::UNIX_EPOCH;

/// The rights that reading the log takes
pub(super) const READ_LOG: &[Need] = &[Need::select(
    "authd_audit_log",
    "id session_id time user_id organization_id workspace_id ip user_agent resource_type \
     resource_id resource_target action status_code decision reason request_id additional_fields",
)];

#[cfg(test)]
mod tests;
