use std::sync::LazyLock;

use app_audit::{ActFilter, ActKind, ActLog, ActRow, Decision, Page};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Inet, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use crate::Error;
use crate::facts::Question;
use crate::pg::PgStore;
use crate::pg::audit_log::{EARLIEST, before, known};
use crate::pg::sql::Sql;
use crate::pg::tables::{Need, Tables};
use crate::pg::values::Address;

impl ActLog for PgStore {
    type Error = Error;

    async fn list_acts(&self, filter: &ActFilter, page: Page) -> Result<Vec<ActRow>, Error> {
        let page = |has_names| ActsPage::of(filter, page, has_names);
        if page(true).is_none() {
            return Ok(Vec::new());
        }
        let load = async |connection: &mut _, tables: &Tables| {
            let page = page(tables.have_names()).ok_or(diesel::NotFound)?;
            page.load(connection).await
        };
        let rows: Vec<Columns> = self.pages.ask_by_tables(Question::Other, load).await?;
        Ok(rows.into_iter().map(ActRow::from).collect())
    }
}

statement! {
    /// A page of acts: `acts_page.sql`
    pub(super) struct ActsPage<'a> of several texts {
        before_time: DateTime<Utc> as Timestamptz,
        before_id: Uuid as SqlUuid,
        from: DateTime<Utc> as Timestamptz,
        request: Option<Uuid> as Nullable<SqlUuid>,
        subject: Option<&'a str> as Nullable<Text>,
        agent: Option<Uuid> as Nullable<SqlUuid>,
        workspace: Option<Uuid> as Nullable<SqlUuid>,
        user: Option<Uuid> as Nullable<SqlUuid>,
        ip: Option<Address> as Nullable<Inet>,
        kind: Option<&'static str> as Nullable<Text>,
        decision: Option<&'static str> as Nullable<Text>,
        reason: Option<&'a str> as Nullable<Text>,
        limit: i64 as BigInt,
    } -> (
        SqlUuid,
        Timestamptz,
        Text,
        Text,
        Text,
        Nullable<SqlUuid>,
        Nullable<Text>,
        Nullable<SqlUuid>,
        Nullable<SqlUuid>,
        Nullable<Text>,
        Nullable<Text>,
        Nullable<Text>,
        Nullable<Text>,
        Nullable<Text>,
        Nullable<Text>,
        Nullable<Text>,
        Nullable<SqlUuid>,
        BigInt,
        Jsonb,
    )
}

impl<'a> ActsPage<'a> {
    /// `None` if no row can match
    pub(super) fn of(filter: &'a ActFilter, page: Page, has_names: bool) -> Option<Self> {
        let (subject, reason) = (filter.subject.as_deref(), filter.reason.as_deref());
        // No text in PostgreSQL holds this byte, and a query for it would be an error.
        if [subject, reason].into_iter().flatten().any(|text| text.contains('\0')) {
            return None;
        }
        let (before_time, before_id) = before(filter.to, page);
        let (_, [with_names, alone]) = TEXTS.iter().find(|(lead, _)| lead.is_in(filter))?;
        Some(Self {
            sql: if has_names { with_names } else { alone },
            before_time,
            before_id,
            from: known(filter.from.unwrap_or(EARLIEST)),
            request: filter.request,
            subject,
            agent: filter.agent.map(|id| id.0),
            workspace: filter.workspace.map(|id| id.0),
            user: filter.user.map(|id| id.0),
            ip: filter.ip.map(|ip| Address(ip.to_canonical())),
            kind: filter.kind.map(ActKind::as_str),
            decision: filter.decision.map(Decision::as_str),
            reason,
            limit: page.limit().into(),
        })
    }
}

/// A column that leads an index, the most selective first
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lead {
    Request,
    Subject,
    Agent,
    Workspace,
    User,
    Ip,
    Kind,
    Denied,
    Time,
}

impl Lead {
    const ALL: [Self; 9] = [
        Self::Request,
        Self::Subject,
        Self::Agent,
        Self::Workspace,
        Self::User,
        Self::Ip,
        Self::Kind,
        Self::Denied,
        Self::Time,
    ];

    /// Whether a filter gives the column
    fn is_in(self, filter: &ActFilter) -> bool {
        match self {
            Self::Request => filter.request.is_some(),
            Self::Subject => filter.subject.is_some(),
            Self::Agent => filter.agent.is_some(),
            Self::Workspace => filter.workspace.is_some(),
            Self::User => filter.user.is_some(),
            Self::Ip => filter.ip.is_some(),
            // Almost every act is a sign-in, so these are found by other columns.
            Self::Kind => filter.kind.is_some_and(|kind| kind != ActKind::AgentSignIn),
            Self::Denied => filter.decision == Some(Decision::Deny),
            Self::Time => true,
        }
    }

    /// The variant of the statement that looks rows up by this column
    const fn variant(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Subject => "subject",
            Self::Agent => "agent",
            Self::Workspace => "workspace",
            Self::User => "user",
            Self::Ip => "ip",
            Self::Kind => "kind",
            Self::Denied => "denied",
            Self::Time => "time",
        }
    }
}

static TEXTS: LazyLock<[(Lead, [Sql; 2]); 9]> = LazyLock::new(|| {
    let file = include_str!("../sql/acts_page.sql");
    Lead::ALL.map(|lead| {
        let lead_by = lead.variant();
        (lead, [Sql::plain_with(file, &[lead_by]), Sql::plain_with(file, &[lead_by, "alone"])])
    })
});

/// A row of the page
#[derive(Queryable)]
struct Columns {
    id: Uuid,
    time: DateTime<Utc>,
    kind: String,
    decision: String,
    reason: String,
    user_id: Option<Uuid>,
    username: Option<String>,
    agent_id: Option<Uuid>,
    workspace_id: Option<Uuid>,
    workspace_name: Option<String>,
    workspace_owner: Option<String>,
    subject_type: Option<String>,
    subject: Option<String>,
    proof: Option<String>,
    ip: Option<String>,
    user_agent: Option<String>,
    request_id: Option<Uuid>,
    times: i64,
    detail: Value,
}

impl From<Columns> for ActRow {
    fn from(columns: Columns) -> Self {
        let decision = Decision::from_label(&columns.decision).unwrap_or(Decision::Deny);
        let mut row = Self::new(columns.id, columns.time.into(), columns.kind, decision);
        row.reason = columns.reason;
        row.user_id = columns.user_id;
        row.username = columns.username;
        row.agent_id = columns.agent_id;
        row.workspace_id = columns.workspace_id;
        row.workspace_name = columns.workspace_name;
        row.workspace_owner = columns.workspace_owner;
        row.subject_type = columns.subject_type;
        row.subject = columns.subject;
        row.proof = columns.proof;
        row.ip = columns.ip.and_then(|ip| ip.parse().ok());
        row.user_agent = columns.user_agent;
        row.request_id = columns.request_id;
        row.times = u64::try_from(columns.times).unwrap_or_default();
        if let Value::Object(detail) = columns.detail {
            row.detail = detail;
        }
        row
    }
}

/// The rights that reading acts needs
pub(in crate::pg) const READ: &[Need] = &[
    Need::select(
        "authd_acts",
        "id time kind decision reason user_id agent_id workspace_id subject_type subject proof ip \
         user_agent request_id times detail",
    ),
    Need::select("users", "id username"),
    Need::select("workspaces", "id name owner_id"),
];
