use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;
use uuid::Uuid;

use crate::{AppId, Decision, OrganizationId, Record, Session, UserId, WorkspaceId, time};

/// What was written down, to be read again
pub trait AuditLog: Send + Sync {
    /// Why rows could not be read
    type Error: Error + Send + Sync + 'static;

    /// The newest rows that pass the filter, the newest first, and of one moment the one
    /// with the greatest id
    ///
    /// The next page begins after [`Row::cursor`] of this page's last row. A row that is
    /// written late, with the time of its request, may be missed by who has read past
    /// that time.
    fn list(
        &self,
        filter: &Filter,
        page: Page,
    ) -> impl Future<Output = Result<Vec<Row>, Self::Error>> + Send;
}

/// Which rows are asked for: those that agree with everything that is given
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before this
    pub from: Option<SystemTime>,
    /// Before this
    pub to: Option<SystemTime>,
    /// Who asked
    pub user: Option<UserId>,
    /// The workspace's organization
    pub organization: Option<OrganizationId>,
    /// The workspace
    pub workspace: Option<WorkspaceId>,
    /// What was asked for
    pub app: Option<App>,
    /// What was decided
    pub decision: Option<Decision>,
    /// The request
    pub request: Option<Uuid>,
    /// The session, whose rows are its beginning and its end
    pub session: Option<Uuid>,
}

/// An app, as a filter names it
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum App {
    /// By its id; ports and terminals are found by their agent's
    Id(AppId),
    /// By its slug, or the slug that led nowhere; ports and terminals are found by their
    /// agent's name
    Slug(String),
}

impl Filter {
    /// Whether a row agrees
    #[must_use]
    pub fn passes(&self, row: &Row) -> bool {
        self.from.is_none_or(|from| row.time >= from)
            && self.to.is_none_or(|to| row.time < to)
            && self.user.is_none_or(|user| row.user_id == user.0)
            && self.organization.is_none_or(|id| row.organization_id == id.0)
            && self.workspace.is_none_or(|id| row.workspace_id == id.0)
            && self.app.as_ref().is_none_or(|app| match app {
                App::Id(id) => row.resource_id == id.0,
                App::Slug(slug) => row.resource_target == *slug,
            })
            && self.decision.is_none_or(|decision| row.decision == decision)
            && self.request.is_none_or(|request| row.request_id == request)
            && self.session.is_none_or(|session| row.session_id == Some(session))
    }
}

/// Which part of the rows is asked for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    limit: u32,
    after: Option<Cursor>,
}

impl Page {
    /// The first `limit` rows, of which there are at least one and at most
    /// [`Page::MAX`]
    #[must_use]
    pub fn first(limit: u32) -> Self {
        Self { limit: limit.clamp(1, Self::MAX), after: None }
    }

    /// As many rows, after those up to a cursor
    #[must_use]
    pub const fn after(self, cursor: Cursor) -> Self {
        Self { after: Some(cursor), ..self }
    }

    /// How many rows at most
    #[must_use]
    pub const fn limit(self) -> u32 {
        self.limit
    }

    /// Where it begins
    #[must_use]
    pub const fn cursor(self) -> Option<Cursor> {
        self.after
    }

    /// The most rows of a page
    pub const MAX: u32 = 1_000;
}

/// A place among all rows
///
/// Its text is for those who were given it and says nothing to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    micros: u64,
    id: Uuid,
}

impl Cursor {
    /// The row's time
    #[must_use]
    pub fn time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.micros)
    }

    /// The row's id
    #[must_use]
    pub const fn id(self) -> Uuid {
        self.id
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{}", self.micros, self.id.simple())
    }
}

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 48 || !text.bytes().all(hex) {
            return Err(NoCursor);
        }
        let (micros, id) = text.split_at(16);
        let micros = u64::from_str_radix(micros, 16).map_err(|_| NoCursor)?;
        let id = Uuid::try_parse(id).map_err(|_| NoCursor)?;
        // No database knows later times.
        if micros > MAX_MICROS { Err(NoCursor) } else { Ok(Self { micros, id }) }
    }
}

/// A text is not what a page ended with
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not a cursor of the audit log")]
pub struct NoCursor;

/// A row of the log: a [`Record`] as it is read
///
/// Serialized it is one flat object, with the time in RFC 3339.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Its own id
    pub id: Uuid,
    /// The session it speaks of; rows of before sessions had ids know none
    pub session_id: Option<Uuid>,
    /// When the request began; of a session's end, when that was noticed
    #[serde(serialize_with = "time::serialize")]
    pub time: SystemTime,
    /// Who asked; the nil id for nobody
    pub user_id: Uuid,
    /// The workspace's organization; the nil id if the request led nowhere
    pub organization_id: Uuid,
    /// The workspace; the nil id if the request led nowhere
    pub workspace_id: Uuid,
    /// The address, where it is known
    pub ip: Option<IpAddr>,
    /// The browser's own account of itself, as far as it is text
    pub user_agent: Option<String>,
    /// `workspace_app` or `workspace_agent`
    pub resource_type: String,
    /// The app's id or the agent's; the nil id if the request led nowhere
    pub resource_id: Uuid,
    /// The app's slug or the agent's name
    pub resource_target: String,
    /// `open`, or `close` for the end of a session
    pub action: String,
    /// The status of the answer
    pub status_code: i32,
    /// Whether it was refused
    pub decision: Decision,
    /// Why it was refused; empty if it was not
    pub reason: String,
    /// The request, as the log knows it
    pub request_id: Uuid,
    /// The workspace by names; of a session's end also `first_seen`, `last_seen` and
    /// `visits`
    pub additional_fields: Value,
}

impl Row {
    /// The row's place among all rows
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        let since = self.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        Cursor { micros: micros.min(MAX_MICROS), id: self.id }
    }
}

impl Row {
    /// The row of a session's end, made of that of its beginning
    #[must_use]
    pub fn closing(open: &Self, id: Uuid, session: Session, visits: u64, now: SystemTime) -> Self {
        let mut row = Self { id, action: "close".to_owned(), time: now, ..open.clone() };
        row.additional_fields["first_seen"] = time::text(session.started_at).into();
        row.additional_fields["last_seen"] = time::text(session.updated_at).into();
        row.additional_fields["visits"] = visits.into();
        let time = row.cursor().time();
        Self { time, ..row }
    }
}

impl From<&Record> for Row {
    /// The row of a session that begins; its time is known to the microsecond, as in a
    /// database
    fn from(record: &Record) -> Self {
        let row = Self {
            id: record.session,
            session_id: Some(record.session),
            time: record.time,
            user_id: record.user_id,
            organization_id: record.organization_id,
            workspace_id: record.workspace_id,
            ip: record.ip,
            user_agent: record.user_agent.clone(),
            resource_type: record.resource_type.to_owned(),
            resource_id: record.resource_id,
            resource_target: record.resource_target.clone(),
            action: record.action.to_owned(),
            status_code: record.status_code.into(),
            decision: record.decision,
            reason: record.reason.unwrap_or_default().to_owned(),
            request_id: record.request_id,
            additional_fields: record.additional_fields.clone(),
        };
        let time = row.cursor().time();
        Self { time, ..row }
    }
}

/// The year 9999: beyond it RFC 3339 has no words
const MAX_MICROS: u64 = 253_402_300_799_999_999;
