use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use app_audit::{
    AuditExplorer, Decision, End, Filter, Found, Listed, Names, Page, Plot, Row, Step, UserId,
    WorkspaceId,
};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{
    Array, BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid,
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{Columns, Conditions, EARLIEST, Lead, Listing, LogPage, known, latest};
use crate::Error;
use crate::facts::Question;
use crate::pg::PgStore;
use crate::pg::schema::users;
use crate::pg::sql::Sql;
use crate::pg::tables::{Generation, Need, Tables};

impl AuditExplorer for PgStore {
    async fn explore(&self, filter: &Filter, page: Page) -> Result<Vec<Listed>, Error> {
        let page = |listing| LogPage::of(filter, page, listing);
        if page(Listing::Sessions).is_none() {
            return Ok(Vec::new());
        }
        let load = async |connection: &mut _, tables: &Tables| {
            let listing = match tables.have_names() {
                true => Listing::Sessions,
                false => Listing::NamelessSessions,
            };
            let page = page(listing).ok_or(diesel::NotFound)?;
            page.load(connection).await
        };
        let rows: Vec<Columns> = self.pages.ask_by_tables(Question::Other, load).await?;
        Ok(rows.into_iter().map(Listed::from).collect())
    }

    async fn plot(&self, filter: &Filter) -> Result<Plot, Error> {
        let Some(plot) = LogPlot::of(filter) else { return Ok(Plot::default()) };
        let steps: Vec<StepColumns> =
            self.pages.run(async |connection| plot.load(connection).await).await?;
        let first = steps.as_slice().first();
        let seconds = first.and_then(|step| step.seconds).unwrap_or_default();
        Ok(Plot {
            length: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
            since: first.and_then(|step| step.since).map(SystemTime::from),
            is_cut: first.is_some_and(|step| step.is_cut),
            steps: steps.iter().filter_map(StepColumns::step).collect(),
        })
    }

    async fn look_up(&self, names: &Names) -> Result<Found, Error> {
        let given = [&names.user, &names.app].into_iter().flatten();
        let workspace = names.workspace.as_ref();
        let mut given = given.chain(workspace.into_iter().flat_map(|(owner, name)| [owner, name]));
        // No text in PostgreSQL holds this byte, and a query for it would be an error.
        if names.is_empty() || given.any(|name| name.contains('\0')) {
            return Ok(Found::default());
        }
        let question = |sql| LookUp {
            sql,
            user: names.user.as_deref(),
            owner: workspace.map(|(owner, _)| owner.as_str()),
            workspace: workspace.map(|(_, name)| name.as_str()),
            app: names.app.as_deref(),
        };
        let look_up = async |connection: &mut _, tables: &Tables| {
            let [with_names, alone] = &*LOOK_UP;
            let sql = if tables.have_names() { with_names } else { alone };
            question(sql).get_result(connection).await
        };
        let found: (Option<Uuid>, Option<Uuid>, bool) =
            self.pages.ask_by_tables(Question::Other, look_up).await?;
        let (user, workspace, app) = found;
        Ok(Found { user: user.map(UserId), workspace: workspace.map(WorkspaceId), app })
    }

    async fn usernames(&self, ids: &[UserId]) -> Result<HashMap<UserId, String>, Error> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let question = users::table
            .select((users::id, users::username))
            .filter(users::id.eq_any(&ids).and(diesel::dsl::not(users::deleted)));
        let load = async |connection: &mut _, tables: &Tables| match tables.have_names() {
            true => question.load(connection).await,
            false => Ok(Vec::new()),
        };
        let names: Vec<(Uuid, String)> = self.pages.ask_by_tables(Question::Other, load).await?;
        Ok(names.into_iter().map(|(id, name)| (UserId(id), name)).collect())
    }
}

impl From<Columns> for Listed {
    fn from(mut columns: Columns) -> Self {
        let end = columns.ended_at.take().zip(columns.end_fields.take());
        let username = columns.username.take();
        let mut session = Self::new(Row::from(columns), username);
        session.end = end.map(|(at, fields)| End::of(at.into(), &fields));
        session
    }
}

statement! {
    /// Visits over time: `audit_log_plot.sql`
    pub(super) struct LogPlot<'a> of several texts {
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
        to: DateTime<Utc> as Timestamptz,
        from: DateTime<Utc> as Timestamptz,
        rows: i64 as BigInt,
        lengths: Vec<i32> as Array<Integer>,
        steps: i64 as BigInt,
    } -> (
        Nullable<Timestamptz>,
        Nullable<Integer>,
        Nullable<BigInt>,
        Nullable<BigInt>,
        Nullable<Timestamptz>,
        Bool,
    )
}

impl<'a> LogPlot<'a> {
    /// `None` if no row can match
    pub(super) fn of(filter: &'a Filter) -> Option<Self> {
        let conditions = Conditions::of(filter)?;
        let (_, sql) = PLOTS.iter().find(|(lead, _)| *lead == conditions.lead)?;
        Some(Self {
            sql,
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
            to: filter.to.map_or_else(latest, known),
            from: known(filter.from.unwrap_or(EARLIEST)),
            rows: i64::try_from(Plot::ROWS).unwrap_or(i64::MAX),
            lengths: Plot::LENGTHS.into_iter().filter_map(|of| i32::try_from(of).ok()).collect(),
            steps: Plot::STEPS.into(),
        })
    }
}

static PLOTS: LazyLock<[(Lead, Sql); 11]> = LazyLock::new(|| {
    let file = include_str!("../sql/audit_log_plot.sql");
    Lead::ALL.map(|lead| (lead, Sql::new(file, Generation::NEWEST, &[lead.variant()])))
});

#[derive(Queryable)]
struct StepColumns {
    start: Option<DateTime<Utc>>,
    seconds: Option<i32>,
    visits: Option<i64>,
    denials: Option<i64>,
    since: Option<DateTime<Utc>>,
    is_cut: bool,
}

impl StepColumns {
    fn step(&self) -> Option<Step> {
        Some(Step {
            start: self.start?.into(),
            visits: u64::try_from(self.visits?).ok()?,
            denials: u64::try_from(self.denials?).ok()?,
        })
    }
}

statement! {
    /// What names stand for: `audit_names.sql`
    pub(super) struct LookUp<'a> of several texts {
        user: Option<&'a str> as Nullable<Text>,
        owner: Option<&'a str> as Nullable<Text>,
        workspace: Option<&'a str> as Nullable<Text>,
        app: Option<&'a str> as Nullable<Text>,
    } -> (Nullable<SqlUuid>, Nullable<SqlUuid>, Bool)
}

/// With a control plane's tables, and without
static LOOK_UP: LazyLock<[Sql; 2]> = LazyLock::new(|| {
    [&[][..], &["alone"]].map(|of| Sql::plain_with(include_str!("../sql/audit_names.sql"), of))
});

/// The rights to the control plane's tables that the explorer needs, beside those to the log
pub(in crate::pg) const NAMES: &[Need] = &[
    Need::select("users", "id username deleted"),
    Need::select("workspaces", "id name owner_id deleted"),
];
