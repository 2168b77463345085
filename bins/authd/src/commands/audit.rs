use std::collections::HashMap;
use std::io::{StdoutLock, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use app_audit::{
    App, AppId, AuditLog, Decision, Filter, OrganizationId, Page, Row, Spool, UserId, Window,
    WorkspaceId,
};
use chrono::DateTime;
use store::{Error, PgStore};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use super::database::{configure, with_database, with_store};
use super::error::CommandError;
use super::output::printable;
use crate::cli::{AuditArgs, AuditCommand, AuditDecision, AuditFilter, AuditReading};
use crate::config::ConfigArgs;

/// Records the events of a spool file
async fn replay(file: &Path, config: ConfigArgs) -> Result<(), CommandError> {
    // Before a database is started for a file that cannot be read.
    let spool = Spool::read(file)?;
    let (entries, acts) = (spool.entries(), spool.acts());
    let config = configure(config)?;
    let stale = config.apps.as_ref().map(|apps| apps.audit_session_timeout);
    let window = stale.map_or_else(Window::default, |stale| Window::default().stale(stale));
    let replayed = async |store: &PgStore| Ok(store.replay_all(&entries, window, &acts).await?);
    let rows = with_database(&config, replayed).await?;
    let aside = spool.set_aside()?;
    let mut out = std::io::stdout().lock();
    let (read, aside) = (entries.len() + acts.len(), aside.display());
    writeln!(out, "{read} events read, {rows} rows added; now {aside}")
        .map_err(CommandError::Output)
}

/// Prints rows of the audit log, or replays events
pub(super) async fn run(args: AuditArgs) -> Result<(), CommandError> {
    let (reading, mode) = match args.command {
        AuditCommand::List { limit, reading } => (reading, Mode::List(limit)),
        AuditCommand::Tail { lines, reading } => (reading, Mode::Tail(lines)),
        AuditCommand::Acts { limit, json, kind, config } => {
            return super::acts::list(limit, json, kind, config).await;
        }
        AuditCommand::Replay { file, config } => return replay(&file, config).await,
    };
    let AuditReading { json, filter, config } = reading;
    let filter = parse(filter)?;
    let printer = Printer { json };
    with_store(config, async |store| {
        let read = async {
            match mode {
                Mode::List(limit) => list(store, &filter, limit, &printer).await,
                Mode::Tail(lines) => tail(store, &filter, lines, &printer).await,
            }
        };
        let mut terminate = signal(SignalKind::terminate()).map_err(CommandError::Signals)?;
        tokio::select! {
            done = read => done,
            // A database server that authd started has to be stopped.
            _ = tokio::signal::ctrl_c() => Ok(()),
            _ = terminate.recv() => Ok(()),
        }
    })
    .await
}

#[derive(Clone, Copy)]
enum Mode {
    /// This number of rows, the newest first
    List(u32),
    /// This number of rows, and then new ones
    Tail(u32),
}

async fn list(
    store: &PgStore,
    filter: &Filter,
    limit: u32,
    printer: &Printer,
) -> Result<(), CommandError> {
    printer.head()?;
    let mut after = None;
    let mut left = limit;
    while left > 0 {
        let page = Page::first(left);
        let page = after.map_or(page, |cursor| page.after(cursor));
        let rows = store.list(filter, page).await?;
        printer.rows(&rows)?;
        let Some(last) = rows.last() else { break };
        after = Some(last.cursor());
        left = left.saturating_sub(page.limit());
    }
    Ok(())
}

/// Prints the last rows and then new ones, until it is interrupted
///
/// Rows are written some time after the visit that they record, so each query includes the last
/// minute again.
async fn tail(
    store: &PgStore,
    filter: &Filter,
    lines: u32,
    printer: &Printer,
) -> Result<(), CommandError> {
    printer.head()?;
    let mut known: HashMap<Uuid, SystemTime> = HashMap::new();
    let mut rows = store.list(filter, Page::first(lines.max(1))).await?;
    rows.reverse();
    let before = rows.first().map(|row| row.time);
    let shown = rows.len() - rows.len().min(usize::try_from(lines).unwrap_or(usize::MAX));
    printer.rows(&rows[shown..])?;
    let mut newest = rows.last().map(|row| row.time);
    known.extend(rows.iter().map(|row| (row.id, row.time)));
    loop {
        let mut fresh = Vec::new();
        let back = newest.and_then(|newest| newest.checked_sub(LATE));
        let filter = Filter { from: filter.from.max(back), ..filter.clone() };
        let mut page = Page::first(Page::MAX);
        loop {
            match store.list(&filter, page).await {
                Ok(rows) => {
                    let Some(last) = rows.last() else { break };
                    page = page.after(last.cursor());
                    fresh.extend(rows);
                }
                // The next query may succeed.
                Err(Error::Unavailable { .. }) => break,
                Err(error) => return Err(error.into()),
            }
        }
        // Rows before the first line existed already.
        fresh.retain(|row| {
            !known.contains_key(&row.id) && before.is_none_or(|before| row.time >= before)
        });
        fresh.sort_unstable_by_key(Row::cursor);
        printer.rows(&fresh)?;
        known.extend(fresh.iter().map(|row| (row.id, row.time)));
        newest = newest.max(fresh.last().map(|row| row.time));
        let back = newest.and_then(|newest| newest.checked_sub(LATE));
        known.retain(|_, time| back.is_none_or(|back| *time >= back));
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Makes a filter of the flags
fn parse(flags: AuditFilter) -> Result<Filter, CommandError> {
    let time = |text: Option<String>| match text {
        Some(text) => DateTime::parse_from_rfc3339(&text)
            .map(|time| Some(time.into()))
            .map_err(|_| CommandError::Usage(format!("`{text}` is not an RFC 3339 date"))),
        None => Ok(None),
    };
    Ok(Filter {
        from: time(flags.from)?,
        to: time(flags.to)?,
        user: flags.user.map(UserId),
        organization: flags.organization.map(OrganizationId),
        workspace: flags.workspace.map(WorkspaceId),
        app: flags.app.map(|app| match Uuid::try_parse(&app) {
            Ok(id) => App::Id(AppId(id)),
            Err(_) => App::Slug(app),
        }),
        decision: flags.decision.map(|decision| match decision {
            AuditDecision::Allow => Decision::Allow,
            AuditDecision::Deny => Decision::Deny,
        }),
        request: flags.request,
        session: flags.session,
    })
}

/// Rows as a table or as lines of JSON
struct Printer {
    json: bool,
}

impl Printer {
    fn head(&self) -> Result<(), CommandError> {
        if self.json {
            return Ok(());
        }
        let names = ["TIME", "USER", "ADDRESS", "WORKSPACE", "APP", "WHAT", "STATUS", "REQUEST"];
        self.write(|out| line(out, &names.map(str::to_owned)))
    }

    fn rows(&self, rows: &[Row]) -> Result<(), CommandError> {
        self.write(|out| {
            for row in rows {
                if self.json {
                    serde_json::to_writer(&mut *out, row)?;
                    writeln!(out)?;
                } else {
                    line(out, &columns(row))?;
                }
            }
            Ok(())
        })
    }

    fn write(
        &self,
        print: impl FnOnce(&mut StdoutLock<'_>) -> std::io::Result<()>,
    ) -> Result<(), CommandError> {
        let mut out = std::io::stdout().lock();
        print(&mut out).and_then(|()| out.flush()).map_err(CommandError::Output)
    }
}

fn columns(row: &Row) -> [String; 8] {
    let name = |name: &str| row.additional_fields[name].as_str().unwrap_or_default();
    let what = match (row.decision, row.reason.as_str()) {
        (Decision::Allow, _) => row.action.clone(),
        (Decision::Deny, reason) => format!("{} denied: {reason}", row.action),
    };
    let app = match name("slug_or_port") {
        "" => row.resource_target.clone(),
        slug_or_port if slug_or_port == row.resource_target => row.resource_target.clone(),
        slug_or_port => format!("{} {slug_or_port}", row.resource_target),
    };
    [
        DateTime::<chrono::Utc>::from(row.time)
            .to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        if row.user_id.is_nil() { String::new() } else { row.user_id.to_string() },
        row.ip.map(|ip| ip.to_string()).unwrap_or_default(),
        format!("{}/{}", name("workspace_owner"), name("workspace_name")),
        app,
        what,
        row.status_code.to_string(),
        row.request_id.to_string(),
    ]
}

/// One line of the table
fn line(out: &mut impl Write, columns: &[String; 8]) -> std::io::Result<()> {
    for (n, (text, width)) in columns.iter().zip(WIDTHS).enumerate() {
        let gap = if n == 0 { "" } else { "  " };
        let text = if text.is_empty() { "-".to_owned() } else { printable(text) };
        write!(out, "{gap}{text:width$}")?;
    }
    writeln!(out)
}

const WIDTHS: [usize; 8] = [24, 36, 15, 24, 20, 24, 6, 36];

/// Time between two queries of `tail`
const INTERVAL: Duration = Duration::from_secs(1);

/// How late after its visit a row may be written and still be printed by `tail`
const LATE: Duration = Duration::from_secs(60);
