use std::sync::LazyLock;
use std::time::SystemTime;

use app_audit::{App, AuditLog, Decision, Filter, Page, Row};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use super::PgStore;
use super::sql::Sql;
use super::tables::{Generation, Need};
use crate::Error;
use crate::facts::Question;

mod explorer;

pub(super) use self::explorer::NAMES;

impl AuditLog for PgStore {
    type Error = Error;

    async fn list(&self, filter: &Filter, page: Page) -> Result<Vec<Row>, Error> {
        let Some(page) = LogPage::of(filter, page, Listing::Rows) else { return Ok(Vec::new()) };
        let rows: Vec<Columns> = self
            .pages
            .ask(Question::AuditPage, async |connection| page.load(connection).await)
            .await?;
        Ok(rows.into_iter().map(Row::from).collect())
    }
}

statement! {
    /// A page of the log: `audit_log_page.sql`
    pub(super) struct LogPage<'a> of several texts {
        before_time: DateTime<Utc> as Timestamptz,
        before_id: Uuid as SqlUuid,
        from: DateTime<Utc> as Timestamptz,
        request: Option<Uuid> as Nullable<SqlUuid>,
        session: Option<Uuid> as Nullable<SqlUuid>,
        app: Option<Uuid> as Nullable<SqlUuid>,
        workspace: Option<Uuid> as Nullable<SqlUuid>,
        user: Option<Uuid> as Nullable<SqlUuid>,
        organization: Option<Uuid> as Nullable<SqlUuid>,
        slug: Option<&'a str> as Nullable<Text>,
        decision: Option<&'static str> as Nullable<Text>,
        reason: Option<&'a str> as Nullable<Text>,
        ip: Option<String> as Nullable<Text>,
        limit: i64 as BigInt,
    } -> (
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
        Nullable<Text>,
        Nullable<Timestamptz>,
        Nullable<Jsonb>,
    )
}

/// What a page of the log has a row for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// Each row of the log
    Rows,
    /// Each session, with the name of its user
    Sessions,
    /// Each session, where no names are known
    NamelessSessions,
}

impl<'a> LogPage<'a> {
    /// `None` if no row can match
    pub(super) fn of(filter: &'a Filter, page: Page, listing: Listing) -> Option<Self> {
        let conditions = Conditions::of(filter)?;
        let (before_time, before_id) = before(filter.to, page);
        let (_, texts) = TEXTS.iter().find(|(lead, _)| *lead == conditions.lead)?;
        let [rows, sessions, nameless] = texts;
        Some(Self {
            sql: match listing {
                Listing::Rows => rows,
                Listing::Sessions => sessions,
                Listing::NamelessSessions => nameless,
            },
            before_time,
            before_id,
            from: known(filter.from.unwrap_or(EARLIEST)),
            request: filter.request,
            session: filter.session,
            app: conditions.app,
            workspace: filter.workspace.map(|id| id.0),
            user: filter.user.map(|id| id.0),
            organization: filter.organization.map(|id| id.0),
            slug: conditions.slug,
            decision: filter.decision.map(Decision::as_str),
            reason: filter.reason.as_deref(),
            ip: conditions.ip,
            limit: page.limit().into(),
        })
    }
}

/// What a filter says, as parameters of a statement
struct Conditions<'a> {
    lead: Lead,
    app: Option<Uuid>,
    slug: Option<&'a str>,
    ip: Option<String>,
}

impl<'a> Conditions<'a> {
    /// `None` if no row can match
    fn of(filter: &'a Filter) -> Option<Self> {
        let (app, slug) = match &filter.app {
            Some(App::Id(id)) => (Some(id.0), None),
            Some(App::Slug(slug)) => (None, Some(slug.as_str())),
            None => (None, None),
        };
        // No text in PostgreSQL holds this byte, and a query for it would be an error.
        let texts = [slug, filter.reason.as_deref()];
        if texts.into_iter().flatten().any(|text| text.contains('\0')) {
            return None;
        }
        // Of visits that were allowed, none has a reason: the whole log would be searched.
        let is_allowed = filter.decision == Some(Decision::Allow);
        if filter.reason.as_deref().is_some_and(|reason| reason.is_empty() || is_allowed) {
            return None;
        }
        let lead = Lead::ALL.into_iter().find(|lead| lead.is_in(filter)).unwrap_or(Lead::Time);
        let ip = filter.ip.map(|ip| ip.to_canonical().to_string());
        Some(Self { lead, app, slug, ip })
    }
}

/// A column that leads an index, the most selective first
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lead {
    Request,
    Session,
    App,
    Workspace,
    User,
    Reason,
    Address,
    Slug,
    Denied,
    Organization,
    Time,
}

impl Lead {
    const ALL: [Self; 11] = [
        Self::Request,
        Self::Session,
        Self::App,
        Self::Workspace,
        Self::User,
        Self::Reason,
        Self::Address,
        Self::Slug,
        Self::Denied,
        Self::Organization,
        Self::Time,
    ];

    /// Whether a filter gives the column
    const fn is_in(self, filter: &Filter) -> bool {
        match self {
            Self::Request => filter.request.is_some(),
            Self::Session => filter.session.is_some(),
            Self::App => matches!(filter.app, Some(App::Id(_))),
            Self::Workspace => filter.workspace.is_some(),
            Self::User => filter.user.is_some(),
            Self::Reason => filter.reason.is_some(),
            Self::Address => filter.ip.is_some(),
            Self::Slug => matches!(filter.app, Some(App::Slug(_))),
            Self::Denied => matches!(filter.decision, Some(Decision::Deny)),
            Self::Organization => filter.organization.is_some(),
            Self::Time => true,
        }
    }

    /// The variant of the statement that looks rows up by this column
    const fn variant(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Session => "session",
            Self::App => "app",
            Self::Workspace => "workspace",
            Self::User => "user",
            Self::Reason => "reason",
            Self::Address => "address",
            Self::Slug => "slug",
            Self::Denied => "denied",
            Self::Organization => "organization",
            Self::Time => "time",
        }
    }
}

/// The texts of a page for each lead: of rows, and of sessions
static TEXTS: LazyLock<[(Lead, [Sql; 3]); 11]> = LazyLock::new(|| {
    let file = include_str!("sql/audit_log_page.sql");
    let text = |variants: &[&str]| Sql::new(file, Generation::NEWEST, variants);
    Lead::ALL.map(|lead| {
        let lead_by = lead.variant();
        let rows = text(&[lead_by]);
        (lead, [rows, text(&[lead_by, "sessions"]), text(&[lead_by, "sessions", "alone"])])
    })
});

/// A row of the page
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
    username: Option<String>,
    ended_at: Option<DateTime<Utc>>,
    end_fields: Option<Value>,
}

impl From<Columns> for Row {
    fn from(columns: Columns) -> Self {
        let decision = Decision::from_label(&columns.decision).unwrap_or(Decision::Deny);
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

/// The position that all rows of a page are before: that of the page, or the time `to` if that is
/// earlier
pub(super) fn before(to: Option<SystemTime>, page: Page) -> (DateTime<Utc>, Uuid) {
    let to = to.map(|to| (known(to), Uuid::nil()));
    let after = page.cursor().map(|cursor| (known(cursor.time()), cursor.id()));
    to.into_iter().chain(after).min().unwrap_or_else(|| (latest(), Uuid::max()))
}

/// The nearest time that both PostgreSQL and RFC 3339 can express
pub(super) fn known(time: SystemTime) -> DateTime<Utc> {
    DateTime::from(time.max(EARLIEST).min(latest().into()))
}

/// The end of the year 9999
pub(super) fn latest() -> DateTime<Utc> {
    DateTime::from_timestamp(253_402_300_799, 0).unwrap_or(DateTime::UNIX_EPOCH)
}

pub(super) const EARLIEST: SystemTime = SystemTime::UNIX_EPOCH;

/// The rights that reading the log needs
pub(super) const READ_LOG: &[Need] = &[Need::select(
    "authd_audit_log",
    "id session_id time user_id organization_id workspace_id ip user_agent resource_type \
     resource_id resource_target action status_code decision reason request_id additional_fields",
)];

#[cfg(test)]
mod tests;
