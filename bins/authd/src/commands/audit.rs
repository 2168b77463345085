use std::collections::{BTreeSet, HashMap};
use std::io::{StdoutLock, Write};
use std::path::Path;
use std::time::Duration;

use app_audit::{
    App, AppId, AuditExplorer, AuditLog, Decision, Filter, Names, OrganizationId, Page, Row, Spool,
    Table, Tail, UserId, Width, Window, WorkspaceId, parse_time,
};
use store::{Error, PgStore};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use super::database::{configure, with_database, with_store};
use super::error::CommandError;
use super::output::printable;
use super::retention;
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
        AuditCommand::Prune { older_than, config } => {
            return retention::prune(older_than, config).await;
        }
        AuditCommand::Partition { json, config } => {
            return retention::partition(json, config).await;
        }
        AuditCommand::Acts { limit, json, kind, config } => {
            return super::acts::list(limit, json, kind, config).await;
        }
        AuditCommand::Replay { file, config } => return replay(&file, config).await,
    };
    let AuditReading { json, wide, filter, config } = reading;
    let (mut filter, names) = parse(filter)?;
    let printer = Printer { table: (!json).then(|| Table::new(width(wide))) };
    with_store(config, async |store| {
        look_up(store, &names, &mut filter).await?;
        printer.head()?;
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
    let mut after = None;
    let mut left = limit;
    while left > 0 {
        let page = Page::first(left);
        let page = after.map_or(page, |cursor| page.after(cursor));
        let rows = store.list(filter, page).await?;
        printer.rows(store, &rows).await?;
        let Some(last) = rows.last() else { break };
        after = Some(last.cursor());
        left = left.saturating_sub(page.limit());
    }
    Ok(())
}

/// Prints the last rows and then new ones, until it is interrupted
async fn tail(
    store: &PgStore,
    filter: &Filter,
    lines: u32,
    printer: &Printer,
) -> Result<(), CommandError> {
    let mut rows = store.list(filter, Page::first(lines.max(1))).await?;
    rows.reverse();
    let shown = rows.len() - rows.len().min(usize::try_from(lines).unwrap_or(usize::MAX));
    printer.rows(store, &rows[shown..]).await?;
    let mut tail = Tail::of(&rows);
    loop {
        match all(store, &tail.filter(filter)).await {
            Ok(rows) => printer.rows(store, &tail.fresh(rows)).await?,
            // The next query may succeed.
            Err(Error::Unavailable { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn all(store: &PgStore, filter: &Filter) -> Result<Vec<Row>, Error> {
    let (mut all, mut page) = (Vec::new(), Page::first(Page::MAX));
    loop {
        let rows = store.list(filter, page).await?;
        let Some(last) = rows.last() else { return Ok(all) };
        page = page.after(last.cursor());
        all.extend(rows);
    }
}

/// Makes a filter of the flags, with the names that have to be looked up
fn parse(flags: AuditFilter) -> Result<(Filter, Names), CommandError> {
    let time = |text: Option<String>| {
        text.map(|text| parse_time(&text).ok_or_else(|| CommandError::Usage(not_a_time(&text))))
            .transpose()
    };
    let (from, to) = (time(flags.from)?, time(flags.to)?);
    if from.zip(to).is_some_and(|(from, to)| to <= from) {
        return Err(CommandError::Usage("`--to` must be later than `--from`".to_owned()));
    }
    let (mut names, mut user, mut workspace) = (Names::default(), None, None);
    match flags.user {
        Some(name) if name == "-" => user = Some(UserId(Uuid::nil())),
        Some(name) => match Uuid::try_parse(&name) {
            Ok(id) => user = Some(UserId(id)),
            Err(_) => names.user = Some(name),
        },
        None => {}
    }
    if let Some(name) = flags.workspace {
        match (Uuid::try_parse(&name), name.split_once('/')) {
            (Ok(id), _) => workspace = Some(WorkspaceId(id)),
            (_, Some((owner, of))) => names.workspace = Some((owner.to_owned(), of.to_owned())),
            _ => {
                return Err(CommandError::Usage(format!(
                    "`{name}` is not `OWNER/WORKSPACE` or an id"
                )));
            }
        }
    }
    let app = flags.app.map(|app| match Uuid::try_parse(&app) {
        Ok(id) => App::Id(AppId(id)),
        Err(_) => App::Slug(app),
    });
    if let Some(App::Slug(slug)) = &app {
        names.app = Some(slug.clone());
    }
    let filter = Filter {
        from,
        to,
        user,
        organization: flags.organization.map(OrganizationId),
        workspace,
        app,
        decision: flags.decision.map(|decision| match decision {
            AuditDecision::Allow => Decision::Allow,
            AuditDecision::Deny => Decision::Deny,
        }),
        reason: flags.reason,
        ip: flags.address,
        request: flags.request,
        session: flags.session,
    };
    Ok((filter, names))
}

fn not_a_time(text: &str) -> String {
    format!(
        "`{text}` is not a time such as `2026-11-28T06:00:00+01:00`, a time in UTC such as \
         `2026-11-28T05:00`, or a day such as `2026-11-28`"
    )
}

/// Puts the ids of names into the filter
async fn look_up(store: &PgStore, names: &Names, filter: &mut Filter) -> Result<(), CommandError> {
    if names.is_empty() {
        return Ok(());
    }
    let found = store.look_up(names).await?;
    filter.user = filter.user.or(found.user);
    filter.workspace = filter.workspace.or(found.workspace);
    let unknown = match names {
        Names { user: Some(name), .. } if found.user.is_none() => {
            format!("the user `{name}` does not exist; deleted users are found by id")
        }
        Names { workspace: Some((owner, name)), .. } if found.workspace.is_none() => {
            format!(
                "the workspace `{owner}/{name}` does not exist; deleted workspaces are found by id"
            )
        }
        Names { app: Some(app), .. } if !found.app => {
            format!("the audit log has no app or agent `{app}`")
        }
        _ => return Ok(()),
    };
    Err(CommandError::Usage(printable(&unknown)))
}

/// Width of the terminal; unlimited if the output goes elsewhere
fn width(is_wide: bool) -> Width {
    let columns: Option<usize> =
        std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = || rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    let columns = columns.or_else(|| terminal().map(|size| size.ws_col.into()));
    match columns {
        Some(columns) if columns > 0 && !is_wide => Width::Columns(columns),
        _ => Width::Unlimited,
    }
}

/// Rows as a table, or as lines of JSON
struct Printer {
    table: Option<Table>,
}

impl Printer {
    fn head(&self) -> Result<(), CommandError> {
        let Some(table) = &self.table else { return Ok(()) };
        self.write(|out| writeln!(out, "{}", table.head()))
    }

    async fn rows(&self, store: &PgStore, rows: &[Row]) -> Result<(), CommandError> {
        let Some(table) = &self.table else {
            return self.write(|out| {
                for row in rows {
                    serde_json::to_writer(&mut *out, row)?;
                    writeln!(out)?;
                }
                Ok(())
            });
        };
        let users = rows.iter().map(|row| row.user_id).filter(|id| !id.is_nil());
        let users: BTreeSet<UserId> = users.map(UserId).collect();
        let users: Vec<UserId> = users.into_iter().collect();
        let names = match users.is_empty() {
            true => HashMap::new(),
            false => store.usernames(&users).await?,
        };
        self.write(|out| {
            rows.iter().try_for_each(|row| writeln!(out, "{}", table.row(row, &names)))
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

/// Time between two queries of `tail`
const INTERVAL: Duration = Duration::from_secs(1);
