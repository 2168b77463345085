use std::collections::{BTreeMap, HashMap};
use std::future::ready;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::{AuditLog, Decision, Filter, Page, Row, UserId, WorkspaceId, time};

/// Reads the log for people: with names, a row for each session, and visits over time
///
/// By default the log is read with [`AuditLog::list`] alone: no name is found, the ends of sessions
/// are not shown, and a page of sessions or a plot may take several calls.
pub trait AuditExplorer: AuditLog {
    /// Returns one page of the sessions that match `filter`, the newest first
    ///
    /// The pages are those of [`AuditLog::list`] without the rows of ends, which are part of
    /// their sessions here. The filter applies to the row of a session's beginning.
    fn explore(
        &self,
        filter: &Filter,
        page: Page,
    ) -> impl Future<Output = Result<Vec<Listed>, Self::Error>> + Send {
        async move {
            let limit = usize::try_from(page.limit()).unwrap_or(usize::MAX);
            let (mut listed, mut next) = (Vec::new(), Some(page));
            while let Some(page) = next.take() {
                let rows = self.list(filter, page).await?;
                let last = rows.last().filter(|_| rows.len() == limit).map(Row::cursor);
                let begun = rows.into_iter().filter(|row| row.action == "open");
                listed.extend(begun.take(limit - listed.len()).map(|row| Listed::new(row, None)));
                let is_full = listed.len() == limit;
                next = last.filter(|_| !is_full).map(|last| page.after(last));
            }
            Ok(listed)
        }
    }

    /// Counts the visits that match `filter`, by steps of time
    ///
    /// Only the newest rows are looked at: [`Plot::since`] says how far back.
    fn plot(&self, filter: &Filter) -> impl Future<Output = Result<Plot, Self::Error>> + Send {
        async move {
            let of_time = Filter { from: filter.from, to: filter.to, ..Filter::default() };
            let (mut rows, mut next) = (Vec::new(), Some(Page::first(Page::MAX)));
            while let Some(page) = next.take() {
                let mut more = self.list(&of_time, page).await?;
                let is_last = u32::try_from(more.len()).is_ok_and(|rows| rows < Page::MAX);
                rows.append(&mut more);
                let last = rows.last().filter(|_| !is_last && rows.len() < Plot::ROWS);
                next = last.map(|last| page.after(last.cursor()));
            }
            Ok(Plot::of(rows.iter(), filter))
        }
    }

    /// Finds the ids of names
    ///
    /// By default nothing is found, not even an app that the log has rows of.
    fn look_up(&self, _names: &Names) -> impl Future<Output = Result<Found, Self::Error>> + Send {
        ready(Ok(Found::default()))
    }

    /// Returns the names of those of these users that exist and are not deleted
    ///
    /// By default none is returned.
    fn usernames(
        &self,
        _users: &[UserId],
    ) -> impl Future<Output = Result<HashMap<UserId, String>, Self::Error>> + Send {
        ready(Ok(HashMap::new()))
    }
}

/// Names to look up, without regard to case
///
/// Deleted users and workspaces are not found, since others may have their names by now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The name of a user
    pub user: Option<String>,
    /// The names of a workspace's owner and of the workspace
    pub workspace: Option<(String, String)>,
    /// The slug of an app, or the name of an agent, in this case
    pub app: Option<String>,
}

impl Names {
    /// Returns whether there is nothing to look up
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.user.is_none() && self.workspace.is_none() && self.app.is_none()
    }
}

/// What [`Names`] stand for
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The user; `None` if the name was not given, or is not that of a user
    pub user: Option<UserId>,
    /// The workspace; `None` if the name was not given, or is not that of a workspace
    pub workspace: Option<WorkspaceId>,
    /// Whether the log has a row of the app
    pub app: bool,
}

/// A session, as the explorer lists it
///
/// It serializes to one flat object: that of its [`Row`] with `username` and `end`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Listed {
    /// The row of the session's beginning
    #[serde(flatten)]
    pub row: Row,
    /// The name that the visitor has now; `None` for visitors who were not signed in, and for users
    /// who are deleted
    pub username: Option<String>,
    /// The end of the session; `None` if no row of it was written
    pub end: Option<End>,
}

impl Listed {
    /// Returns a session without an end
    #[must_use]
    pub const fn new(row: Row, username: Option<String>) -> Self {
        Self { row, username, end: None }
    }

    /// Returns the workspace as `OWNER/WORKSPACE`, as it was called at the time of the visit
    ///
    /// `None` if the workspace was not found.
    #[must_use]
    pub fn workspace(&self) -> Option<String> {
        workspace_of(&self.row)
    }

    /// Returns the app's slug or the agent's name, and the port if that differs
    #[must_use]
    pub fn app(&self) -> String {
        app_of(&self.row)
    }
}

/// The end of a session
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct End {
    /// When the session ended: [`Session::ended_at`](crate::Session::ended_at)
    #[serde(serialize_with = "time::serialize")]
    pub ended_at: SystemTime,
    /// When the last visit was, in RFC 3339; `None` if the row does not say it
    pub last_seen: Option<String>,
    /// The number of visits; `None` if the row does not say it
    pub visits: Option<u64>,
}

impl End {
    /// Returns the end that a row of the action `close` describes
    #[must_use]
    pub fn of(ended_at: SystemTime, additional_fields: &serde_json::Value) -> Self {
        let last_seen = additional_fields["last_seen"].as_str().map(str::to_owned);
        Self { ended_at, last_seen, visits: additional_fields["visits"].as_u64() }
    }
}

/// Visits over time
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plot {
    /// The length of a step; zero if there are no visits
    pub length: Duration,
    /// The steps that have visits, the earliest first
    pub steps: Vec<Step>,
    /// The time of the oldest row that was looked at; `None` if there was no row
    pub since: Option<SystemTime>,
    /// Whether there may be older visits, which are not counted
    pub is_cut: bool,
}

/// The visits of one step of time
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When the step begins: a multiple of its length since 1970
    pub start: SystemTime,
    /// Sessions that began in it, allowed or denied
    pub visits: u64,
    /// Those that were denied
    pub denials: u64,
}

impl Plot {
    /// The most rows that a plot looks at
    pub const ROWS: usize = 5_000;

    /// The most steps that a plot has
    pub const STEPS: u32 = 60;

    /// The lengths of a step, in seconds, of which the shortest is used that gives at most
    /// [`Plot::STEPS`]
    pub const LENGTHS: [u32; 12] =
        [60, 300, 900, 1_800, 3_600, 10_800, 21_600, 86_400, 604_800, 2_592_000, 31_536_000, MAX];

    /// Counts rows, which come newest first
    ///
    /// All rows count as looked at, and those that pass `filter` as visits.
    #[must_use]
    pub fn of<'a>(rows: impl Iterator<Item = &'a Row>, filter: &Filter) -> Self {
        let rows: Vec<&Row> = rows.take(Self::ROWS).collect();
        let is_cut = rows.len() == Self::ROWS;
        let since = rows.last().map(|row| row.time);
        let visits = rows.into_iter().filter(|row| row.action == "open" && filter.passes(row));
        let visits: Vec<&Row> = visits.collect();
        let ends = visits.first().zip(visits.last());
        let span = ends.map(|(last, first)| last.time.duration_since(first.time));
        let Some(Ok(span)) = span else {
            return Self { since, is_cut, ..Self::default() };
        };
        let fits = |length: &&u32| {
            Duration::from_secs(u64::from(**length) * u64::from(Self::STEPS - 1)) > span
        };
        let length = u64::from(*Self::LENGTHS.iter().find(fits).unwrap_or(&MAX));
        let mut steps: BTreeMap<u64, Step> = BTreeMap::new();
        for visit in visits {
            let since = visit.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let start = since / length * length;
            let step = steps.entry(start).or_insert_with(|| Step {
                start: UNIX_EPOCH + Duration::from_secs(start),
                visits: 0,
                denials: 0,
            });
            step.visits += 1;
            step.denials += u64::from(visit.decision == Decision::Deny);
        }
        let length = Duration::from_secs(length);
        Self { length, steps: steps.into_values().collect(), since, is_cut }
    }
}

pub(crate) fn workspace_of(row: &Row) -> Option<String> {
    let name = |name: &str| row.additional_fields[name].as_str().unwrap_or_default();
    let (owner, workspace) = (name("workspace_owner"), name("workspace_name"));
    (!owner.is_empty() || !workspace.is_empty()).then(|| format!("{owner}/{workspace}"))
}

pub(crate) fn app_of(row: &Row) -> String {
    match row.additional_fields["slug_or_port"].as_str() {
        None | Some("") => row.resource_target.clone(),
        Some(slug) if slug == row.resource_target => slug.to_owned(),
        Some(slug) => format!("{} {slug}", row.resource_target),
    }
}

/// Some 68 years, the most seconds that an `integer` of a database has
const MAX: u32 = 2_147_483_647;
