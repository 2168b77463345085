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

/// Reads the rows that a journal has written
pub trait AuditLog: Send + Sync {
    /// Why rows could not be read
    type Error: Error + Send + Sync + 'static;

    /// Returns one page of the rows that match `filter`, newest first
    ///
    /// Rows of the same time are ordered by id, the greatest first. The next page begins
    /// after [`Row::cursor`] of this page's last row. A row bears the time of its request
    /// and may be written later, so a reader who is already past that time misses it.
    fn list(
        &self,
        filter: &Filter,
        page: Page,
    ) -> impl Future<Output = Result<Vec<Row>, Self::Error>> + Send;
}

/// Selects rows of the log: those that match every field that is given
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The earliest time of a row
    pub from: Option<SystemTime>,
    /// The time that rows must be earlier than
    pub to: Option<SystemTime>,
    /// The visitor; the nil id for visitors who were not signed in
    pub user: Option<UserId>,
    /// The workspace's organization
    pub organization: Option<OrganizationId>,
    /// The workspace
    pub workspace: Option<WorkspaceId>,
    /// The app, port or terminal that was requested
    pub app: Option<App>,
    /// Whether the visit was allowed
    pub decision: Option<Decision>,
    /// Why the visit was denied; no row matches an empty reason
    pub reason: Option<String>,
    /// The client's address
    pub ip: Option<IpAddr>,
    /// The request's id
    pub request: Option<Uuid>,
    /// The session's id; a session has a row for its beginning and may have one for its end
    pub session: Option<Uuid>,
}

/// Names an app in a [`Filter`]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum App {
    /// By id: the app's own, or the agent's for ports and terminals
    Id(AppId),
    /// By name: the app's slug, even if no app was found, or the agent's name for ports and
    /// terminals
    Slug(String),
}

impl Filter {
    /// Returns the page of the rows that match, newest first
    ///
    /// For implementations of [`AuditLog`] that have all rows at hand, and for tests of others.
    #[must_use]
    pub fn select<'a>(&self, rows: impl IntoIterator<Item = &'a Row>, page: Page) -> Vec<Row> {
        let is_on_page = |row: &&Row| page.after.is_none_or(|after| row.cursor() < after);
        let mut rows: Vec<_> =
            rows.into_iter().filter(|row| self.passes(row)).filter(is_on_page).collect();
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.cursor()));
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        rows.into_iter().take(limit).cloned().collect()
    }

    /// Returns whether `row` matches every field that is given
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
            && self.reason.as_ref().is_none_or(|reason| {
                row.decision == Decision::Deny && !reason.is_empty() && row.reason == *reason
            })
            && self.ip.is_none_or(|ip| row.ip == Some(ip.to_canonical()))
            && self.request.is_none_or(|request| row.request_id == request)
            && self.session.is_none_or(|session| row.session_id == Some(session))
    }
}

/// Selects a page of the rows that match a [`Filter`]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    limit: u32,
    after: Option<Cursor>,
}

impl Page {
    /// Selects the first `limit` rows, clamped to 1..=[`Page::MAX`]
    #[must_use]
    pub fn first(limit: u32) -> Self {
        Self { limit: limit.clamp(1, Self::MAX), after: None }
    }

    /// Returns the page of the same size that begins after `cursor`
    #[must_use]
    pub const fn after(self, cursor: Cursor) -> Self {
        Self { after: Some(cursor), ..self }
    }

    /// Returns the most rows that the page may have
    #[must_use]
    pub const fn limit(self) -> u32 {
        self.limit
    }

    /// Returns the position that the page begins after; `None` for the first page
    #[must_use]
    pub const fn cursor(self) -> Option<Cursor> {
        self.after
    }

    /// The most rows that a page may have
    pub const MAX: u32 = 1_000;
}

/// A row's position in the log
///
/// The text form is opaque: clients only pass it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    micros: u64,
    id: Uuid,
}

impl Cursor {
    pub(crate) fn of(time: SystemTime, id: Uuid) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        Self { micros: micros.min(MAX_MICROS), id }
    }

    /// Returns the time of the row at this position
    #[must_use]
    pub fn time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.micros)
    }

    /// Returns the id of the row at this position
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
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, ParseCursorError> {
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 48 || !text.bytes().all(hex) {
            return Err(ParseCursorError);
        }
        let (micros, id) = text.split_at(16);
        let micros = u64::from_str_radix(micros, 16).map_err(|_| ParseCursorError)?;
        let id = Uuid::try_parse(id).map_err(|_| ParseCursorError)?;
        // Later times cannot be stored.
        if micros > MAX_MICROS { Err(ParseCursorError) } else { Ok(Self { micros, id }) }
    }
}

/// A text is not a [`Cursor`]
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not a cursor of the audit log")]
pub struct ParseCursorError;

/// A row of the log: a [`Record`] as it is read
///
/// It serializes to one flat object, with the time in RFC 3339.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// The row's own id
    pub id: Uuid,
    /// The id of the visit's session; `None` in rows older than session ids
    pub session_id: Option<Uuid>,
    /// When the request began; for the end of a session, when it ended
    #[serde(serialize_with = "time::serialize")]
    pub time: SystemTime,
    /// The visitor; the nil id if the visitor was not signed in
    pub user_id: Uuid,
    /// The workspace's organization; the nil id if the workspace was not found
    pub organization_id: Uuid,
    /// The workspace; the nil id if it was not found
    pub workspace_id: Uuid,
    /// The client's address; `None` if it is unknown
    pub ip: Option<IpAddr>,
    /// The `User-Agent` header, with replacement characters for bytes that are not text
    pub user_agent: Option<String>,
    /// `workspace_app` or `workspace_agent`
    pub resource_type: String,
    /// The app's id or the agent's; the nil id if it was not found
    pub resource_id: Uuid,
    /// The app's slug or the agent's name
    pub resource_target: String,
    /// `open`, or `close` for the end of a session
    pub action: String,
    /// The HTTP status of the answer
    pub status_code: i32,
    /// Whether the visit was allowed
    pub decision: Decision,
    /// Why the visit was denied; empty if it was allowed
    pub reason: String,
    /// The request id that the server's log has
    pub request_id: Uuid,
    /// The names of workspace and owner; for the end of a session also `first_seen`,
    /// `last_seen` and `visits`
    pub additional_fields: Value,
}

impl Row {
    /// Returns whether a journal whose rows are kept for `keep` is to forget this one
    #[must_use]
    pub fn is_older_than(&self, keep: Duration, now: SystemTime) -> bool {
        now.duration_since(self.time).is_ok_and(|age| age > keep)
    }

    /// Returns a row with these fields, and with all others empty or nil
    ///
    /// For implementations of [`AuditLog`], which then set the other fields.
    #[must_use]
    pub const fn new(id: Uuid, time: SystemTime, decision: Decision) -> Self {
        Self {
            id,
            session_id: None,
            time,
            user_id: Uuid::nil(),
            organization_id: Uuid::nil(),
            workspace_id: Uuid::nil(),
            ip: None,
            user_agent: None,
            resource_type: String::new(),
            resource_id: Uuid::nil(),
            resource_target: String::new(),
            action: String::new(),
            status_code: 0,
            decision,
            reason: String::new(),
            request_id: Uuid::nil(),
            additional_fields: Value::Null,
        }
    }

    /// Returns the row's position in the log
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor::of(self.time, self.id)
    }

    /// Returns the row for the end of `session`, made from the row of its beginning
    ///
    /// The row has the time at which the session ended, [`Session::ended_at`], and not that at which
    /// this was noticed: whichever replica writes it, the row is the same. `visits` counts all visits
    /// of the session.
    #[must_use]
    pub fn closing(
        open: &Self,
        id: Uuid,
        session: Session,
        visits: u64,
        ended_at: SystemTime,
    ) -> Self {
        let mut row = Self { id, action: "close".to_owned(), time: ended_at, ..open.clone() };
        row.additional_fields["first_seen"] = time::text(session.started_at).into();
        row.additional_fields["last_seen"] = time::text(session.updated_at).into();
        row.additional_fields["visits"] = visits.into();
        let time = row.cursor().time();
        Self { time, ..row }
    }
}

impl From<&Record> for Row {
    /// Makes the row of a session that begins, with its time rounded down to the
    /// microsecond as in a database
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
            reason: record.reason.as_deref().unwrap_or_default().to_owned(),
            request_id: record.request_id,
            additional_fields: record.additional_fields.clone(),
        };
        let time = row.cursor().time();
        Self { time, ..row }
    }
}

/// The end of the year 9999, the last that RFC 3339 can write
const MAX_MICROS: u64 = 253_402_300_799_999_999;
