use std::error::Error;
use std::fmt;
use std::future::ready;
use std::net::IpAddr;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{Act, ActKind, AgentId, Cursor, Decision, Page, UserId, WorkspaceId, time};

/// Reads the acts that an [`ActJournal`](crate::ActJournal) has written
pub trait ActLog: Send + Sync {
    /// Why rows could not be read
    type Error: Error + Send + Sync + 'static;

    /// Returns one page of the acts that match `filter`, newest first
    ///
    /// The rows are in the order of [`AuditLog::list`](crate::AuditLog::list), and pages follow
    /// each other in the same way.
    ///
    /// By default no row is returned, for a host that records no acts. Readers cannot distinguish
    /// this from a log without matches.
    fn list_acts(
        &self,
        _filter: &ActFilter,
        _page: Page,
    ) -> impl Future<Output = Result<Vec<ActRow>, Self::Error>> + Send {
        ready(Ok(Vec::new()))
    }
}

/// Selects acts: those that match every field that is given
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActFilter {
    /// The earliest time of an act
    pub from: Option<SystemTime>,
    /// The time that acts must be earlier than
    pub to: Option<SystemTime>,
    /// What was done
    pub kind: Option<ActKind>,
    /// Whether it was allowed
    pub decision: Option<Decision>,
    /// The class of the refusal; empty for acts that were allowed
    pub reason: Option<String>,
    /// The user who acted, or whose token it is
    pub user: Option<UserId>,
    /// The agent whose token was asked for
    pub agent: Option<AgentId>,
    /// The workspace of the agent
    pub workspace: Option<WorkspaceId>,
    /// The name of the subject: the id of an instance or a token, or the name of a proxy
    pub subject: Option<String>,
    /// The client's address
    pub ip: Option<IpAddr>,
    /// The id of the first request
    pub request: Option<Uuid>,
}

impl ActFilter {
    /// Returns the page of the rows that match, newest first
    ///
    /// For implementations of [`ActLog`] that have all rows at hand, and for tests of others.
    #[must_use]
    pub fn select<'a>(
        &self,
        rows: impl IntoIterator<Item = &'a ActRow>,
        page: Page,
    ) -> Vec<ActRow> {
        let is_on_page = |row: &&ActRow| page.cursor().is_none_or(|after| row.cursor() < after);
        let mut rows: Vec<_> =
            rows.into_iter().filter(|row| self.passes(row)).filter(is_on_page).collect();
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.cursor()));
        let limit = usize::try_from(page.limit()).unwrap_or(usize::MAX);
        rows.into_iter().take(limit).cloned().collect()
    }

    /// Returns whether `row` matches every field that is given
    #[must_use]
    pub fn passes(&self, row: &ActRow) -> bool {
        self.from.is_none_or(|from| row.time >= from)
            && self.to.is_none_or(|to| row.time < to)
            && self.kind.is_none_or(|kind| row.kind == kind.as_str())
            && self.decision.is_none_or(|decision| row.decision == decision)
            && self.reason.as_ref().is_none_or(|reason| row.reason == *reason)
            && self.user.is_none_or(|user| row.user_id == Some(user.0))
            && self.agent.is_none_or(|agent| row.agent_id == Some(agent.0))
            && self.workspace.is_none_or(|id| row.workspace_id == Some(id.0))
            && self.subject.as_ref().is_none_or(|name| row.subject.as_ref() == Some(name))
            && self.ip.is_none_or(|ip| row.ip == Some(ip.to_canonical()))
            && self.request.is_none_or(|request| row.request_id == Some(request))
    }
}

/// An act as it is read
///
/// It serializes to one flat object, with the time in RFC 3339.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ActRow {
    /// The row's own id
    pub id: Uuid,
    /// When it was done; for acts that were counted, the first time
    #[serde(serialize_with = "time::serialize")]
    pub time: SystemTime,
    /// What was done: a label of [`ActKind`], or one that only a newer release knows
    pub kind: String,
    /// Whether it was allowed
    pub decision: Decision,
    /// The class of the refusal; empty if it was allowed
    pub reason: String,
    /// The user who acted, or whose token it is
    pub user_id: Option<Uuid>,
    /// The user's present name
    pub username: Option<String>,
    /// The agent whose token was asked for
    pub agent_id: Option<Uuid>,
    /// The workspace of the agent
    pub workspace_id: Option<Uuid>,
    /// The workspace's present name
    pub workspace_name: Option<String>,
    /// The present name of the workspace's owner
    pub workspace_owner: Option<String>,
    /// What the subject is: a label of [`SubjectKind`](crate::SubjectKind), or one that only a
    /// newer release knows. `claimed_instance` is not verified.
    pub subject_type: Option<String>,
    /// The name or id of the subject
    pub subject: Option<String>,
    /// The kind of proof: the cloud that signed it
    pub proof: Option<String>,
    /// The client's address; `None` if it is unknown
    pub ip: Option<IpAddr>,
    /// The `User-Agent` header of the first request
    pub user_agent: Option<String>,
    /// The id of the first request; `None` for commands
    pub request_id: Option<Uuid>,
    /// How often it was done in the hour
    pub times: u64,
    /// What has no column of its own
    pub detail: Map<String, Value>,
}

impl ActRow {
    /// Returns a row with these fields, and with all others empty
    ///
    /// For implementations of [`ActLog`], which then set the other fields.
    #[must_use]
    pub fn new(id: Uuid, time: SystemTime, kind: String, decision: Decision) -> Self {
        Self {
            id,
            time,
            kind,
            decision,
            reason: String::new(),
            user_id: None,
            username: None,
            agent_id: None,
            workspace_id: None,
            workspace_name: None,
            workspace_owner: None,
            subject_type: None,
            subject: None,
            proof: None,
            ip: None,
            user_agent: None,
            request_id: None,
            times: 1,
            detail: Map::new(),
        }
    }

    /// Returns the row as one line of JSON
    #[must_use]
    pub fn to_json(&self) -> String {
        // Only a map whose keys are not strings fails, and an act contains none.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns the row's position in the log
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor::of(self.time, self.id)
    }
}

/// A line for a person: when, what, who, with or to what, from where, and how often
///
/// It is not safe to print on a terminal, since clients chose some of its texts.
impl fmt::Display for ActRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {:<13}", time::text(self.time), self.kind)?;
        match self.decision {
            Decision::Allow => f.write_str("  allowed")?,
            Decision::Deny => write!(f, "  denied: {}", self.reason)?,
        }
        if let Some(user) = self
            .username
            .as_ref()
            .map(ToString::to_string)
            .or_else(|| self.user_id.as_ref().map(ToString::to_string))
        {
            write!(f, "  user {user}")?;
        }
        if let Some(operator) = self.detail.get("operator").and_then(Value::as_str) {
            match self.detail.get("operator_uid") {
                // Neither services nor containers have `USER` as a rule.
                Some(uid) if operator.is_empty() => write!(f, "  by uid {uid} (not verified)")?,
                _ => write!(f, "  by {operator} (not verified)")?,
            }
        }
        match (&self.workspace_owner, &self.workspace_name, self.workspace_id) {
            (Some(owner), Some(name), _) => write!(f, "  workspace {owner}/{name}")?,
            (_, _, Some(id)) => write!(f, "  workspace {id}")?,
            _ => {}
        }
        if let Some(agent) = self.detail.get("agent_name").and_then(Value::as_str) {
            write!(f, "  agent {agent}")?;
        }
        if let (Some(kind), Some(name)) = (&self.subject_type, &self.subject) {
            write!(f, "  {kind} {name}")?;
        }
        if let Some(proof) = &self.proof {
            write!(f, "  proof of {proof}")?;
        }
        if let Some(ip) = self.ip {
            write!(f, "  from {ip}")?;
        }
        if self.times > 1 {
            write!(f, "  {} times", self.times)?;
        }
        match self.request_id {
            Some(request) => write!(f, "  request {request}"),
            None => Ok(()),
        }
    }
}

impl From<&Act> for ActRow {
    /// Makes the row of an act, without names and with its time rounded down to the microsecond
    /// as in a database
    fn from(act: &Act) -> Self {
        let id = act.id();
        let time = Cursor::of(act.time, id).time();
        let mut row = Self::new(id, time, act.kind.as_str().to_owned(), act.decision());
        row.reason = act.reason.as_deref().unwrap_or_default().to_owned();
        row.user_id = act.user.map(|user| user.0);
        row.agent_id = act.agent.map(|agent| agent.0);
        row.workspace_id = act.workspace.map(|workspace| workspace.0);
        row.subject_type = act.subject.as_ref().map(|of| of.kind.as_str().to_owned());
        row.subject = act.subject.as_ref().map(|of| of.name.clone());
        row.proof = act.proof.as_deref().map(str::to_owned);
        row.ip = act.ip;
        row.user_agent.clone_from(&act.user_agent);
        row.request_id = act.request;
        row.times = act.times;
        row.detail.clone_from(&act.detail);
        row
    }
}
