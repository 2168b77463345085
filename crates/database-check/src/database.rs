use std::collections::BTreeSet;
use std::time::SystemTime;

use app_audit::{AuditLog, Filter, Page};
use app_authz::Directory;
use app_authz::app::{AccessMethod, UncheckedRequest};
use app_authz::proxy::Proxies;
use store::inspection::{
    Asked, Encryption, Index, Inspection, Keys, Lack, Part, Server, Tables, Task,
};
use store::{Error, Generation, Owner, PgStore, Pooling, releases};
use uuid::Uuid;

use crate::finding::Finding;
use crate::names::of_names;

/// How the database is to be used
#[derive(Clone, Debug)]
pub struct Expected {
    /// The parts of authd that are turned on
    pub asked: Asked,
    /// Whether app tokens are signed with `eddsa`
    pub signs_with_eddsa: bool,
}

/// Checks the database of a server that uses it like this, and changes nothing
///
/// `clock` is compared with the clock of the database.
///
/// # Errors
///
/// If the database cannot be reached.
pub async fn of_database(
    store: &PgStore,
    expected: &Expected,
    clock: &(dyn Fn() -> SystemTime + Send + Sync),
) -> Result<(Vec<Finding>, Inspection), Error> {
    let inspection = store.inspect(&expected.asked, clock).await?;
    let mut findings = findings(&inspection, expected);
    if expected.asked.has(Part::Oidc) && inspection.tables.owner == Owner::ControlPlane {
        let text = "the control plane of this database signs people in; leave it out";
        findings.push(Finding::error("oidc_issuer_url", text).stops());
    }
    let refreshes = expected.asked.has(Part::TokenRefresh);
    if refreshes && inspection.tables.owner != Owner::ControlPlane {
        let text = "only a control plane keeps tokens of providers; leave out `refresh_oidc_issuer_url` \
                    and `refresh_github_client_id`";
        findings.push(Finding::error("token refresh", text).stops());
    }
    let apps = expected.asked.has(Part::Apps);
    let is_possible = |task: &Task| task.lacks.is_empty() || task.part == Part::SignInAudit;
    if inspection.tasks.iter().all(is_possible) {
        match try_queries(store, apps).await {
            // A table has just changed; the next request would report that too.
            Ok(()) => findings.extend(of_names(store, apps).await),
            Err(Error::Tables(_)) => {}
            Err(Error::Query { reason }) => {
                let text = format!("the database refused one: {reason}");
                findings.push(Finding::error("statements", text).stops());
            }
            Err(error) => return Err(error),
        }
    }
    Ok((findings, inspection))
}

/// Runs each query that changes nothing, because only that proves that it works
async fn try_queries(store: &PgStore, apps: bool) -> Result<(), Error> {
    store.check_candidates().await?;
    if !apps {
        return Ok(());
    }
    let nil = Uuid::nil().to_string();
    let app = |owner: &str| UncheckedRequest {
        access_method: AccessMethod::Path.as_str().to_owned(),
        base_path: "/".to_owned(),
        username_or_id: owner.to_owned(),
        workspace_name_or_id: owner.to_owned(),
        app_slug_or_port: "-".to_owned(),
        ..UncheckedRequest::default()
    };
    let terminal = UncheckedRequest {
        access_method: AccessMethod::Terminal.as_str().to_owned(),
        agent_name_or_id: nil.clone(),
        ..UncheckedRequest::default()
    };
    for request in [app("-"), app(&nil), terminal]
        .into_iter()
        .filter_map(|request| request.normalize().check().ok())
    {
        store.app_access(&request, &[]).await?;
    }
    store.proxies().await?;
    store.list(&Filter::default(), Page::first(1)).await?;
    Ok(())
}

/// The findings of an inspection
fn findings(inspection: &Inspection, expected: &Expected) -> Vec<Finding> {
    let Inspection { server, tables, tasks, sign_in_index, keys, encryption, .. } = inspection;
    let writes = expected.asked.has(Part::Apps) || expected.asked.has(Part::IdentityPins);
    let mut findings = of_server(server, writes);
    findings.push(of_release(tables));
    findings.extend(of_tables(tables, server));
    findings.extend(tasks.iter().map(|task| of_task(task, tables, server)));
    findings.extend(sign_in_index.as_ref().map(of_index));
    let rotation = expected.asked.has(Part::KeyRotation);
    findings.extend(keys.iter().map(|keys| of_keys(keys, rotation)));
    findings.extend(encryption.iter().flat_map(of_encryption));
    if expected.signs_with_eddsa && tables.owner == Owner::ControlPlane {
        findings.push(Finding::warning(
            "app_token_signing",
            "the control plane and its proxies do not accept tokens signed with `eddsa`; use `hs512` \
             unless only your own proxies verify them",
        ));
    }
    findings
}

fn of_server(server: &Server, writes: bool) -> Vec<Finding> {
    let Server { version, database, user, application_name, .. } = server;
    let mut findings = vec![Finding::ok(
        "database",
        format!("PostgreSQL {version}, `{database}` as `{user}`, called `{application_name}`"),
    )];
    if server.is_standby || server.is_read_only {
        let why = match server.is_standby {
            true => "it is a standby: use the primary",
            false => "`default_transaction_read_only` is on for this role: turn it off",
        };
        findings.push(if writes {
            Finding::error("writes", format!("the database does not accept any, because {why}"))
                .stops()
        } else {
            Finding::ok(
                "writes",
                format!("the database does not accept any, and sign-in does not need any ({why})"),
            )
        });
    }
    let (ahead, precision) = (server.clock_ahead, server.clock_precision.as_secs_f64());
    let text = format!(
        "the database's differs from this machine's by {ahead:+.1} s, measured to {precision:.1} s"
    );
    findings.push(if ahead.abs() - precision > CLOCK_DIFFERENCE {
        let advice = "sessions and keys expire too early or too late; synchronize both clocks";
        Finding::warning("clock", format!("{text}: {advice}"))
    } else {
        Finding::ok("clock", text)
    });
    match server.pooling {
        Pooling::None => {}
        Pooling::Transaction => findings.push(Finding::ok(
            "pooler",
            "it reassigns connections after each transaction, and keeps prepared statements apart",
        )),
        _ => findings.push(Finding::ok("pooler", "it assigns each connection to one client")),
    }
    for setting in &server.settings {
        let Some(wanted) = setting.wanted.as_ref().filter(|wanted| **wanted != setting.value)
        else {
            continue;
        };
        let (name, value) = (&setting.name, &setting.value);
        findings.push(Finding::warning(
            format!("setting {name}"),
            format!(
                "it is `{value}`, because a pooler does not pass on authd's settings; set it for \
                 the role: ALTER ROLE … SET {name} = '{wanted}'"
            ),
        ));
    }
    if let Some(limit) = server.connection_limit.filter(|limit| *limit < server.connections) {
        findings.push(Finding::warning(
            "connections",
            format!(
                "the role or the database allows {limit}, and authd opens up to {}; raise the limit, \
                 or lower `read_connections` and `write_connections`",
                server.connections
            ),
        ));
    }
    findings
}

/// The owner of the tables, and their release
fn of_release(tables: &Tables) -> Finding {
    const SUBJECT: &str = "control plane";
    let generation = tables.generation;
    let text = match (tables.owner, tables.migration) {
        (Owner::Authd, _) => return Finding::ok(SUBJECT, "none: the tables belong to authd"),
        (Owner::ControlPlane, None) => {
            format!("tables as since {generation}; their release is not known")
        }
        (Owner::ControlPlane, Some(migration)) => {
            let text =
                format!("{}; tables as since {generation}", releases::describe(migration.number));
            if migration.is_dirty {
                let advice = "its upgrade is in progress or has failed: see its own log";
                return Finding::warning(SUBJECT, format!("{text}; {advice}"));
            }
            if releases::is_too_old(migration.number) {
                return Finding::warning(SUBJECT, text);
            }
            text
        }
    };
    Finding::ok(SUBJECT, text)
}

fn of_tables(tables: &Tables, server: &Server) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(pending) = tables.pending.filter(|pending| *pending > 0) {
        let command = migrate(tables.owner);
        let text = match pending {
            1 => format!("1 has not been applied: run {command}"),
            _ => format!("{pending} have not been applied: run {command}"),
        };
        findings.push(Finding::warning("migrations", text));
    }
    if let Some(months) = tables.audit_months {
        let until = months.until.format("%Y-%m-%d");
        let text = format!("a table for each month, until {until}");
        findings.push(if months.has_next {
            Finding::ok("audit log", text)
        } else {
            let advice = "servers add the months to come, so one has to run; or run `authd audit \
                          partition`";
            Finding::warning("audit log", format!("{text}; {advice}"))
        });
    }
    for table in &tables.hidden_rows {
        let user = &server.user;
        let text = format!(
            "row-level security may hide rows of `{table}` from the role `{user}`; give the role \
             `BYPASSRLS`, or a policy that shows all rows"
        );
        findings.push(Finding::error("row-level security", text).stops());
    }
    findings
}

/// Whether a task is possible, and what to do if it is not
fn of_task(task: &Task, tables: &Tables, server: &Server) -> Finding {
    if task.lacks.is_empty() {
        return Finding::ok(task.name, "nothing is missing");
    }
    let lacks: Vec<String> = task.lacks.iter().map(ToString::to_string).collect();
    let lacks = lacks.join(", ");
    let is_right = |lack: &Lack| matches!(lack, Lack::Right { .. });
    let is_table = |lack: &Lack| matches!(lack, Lack::Table { .. });
    let (advice, stops) = if task.lacks.iter().any(is_table) {
        (where_tables_are(task, tables, server), true)
    } else if task.lacks.iter().any(|lack| !is_right(lack)) {
        let own = task.lacks.iter().any(Lack::is_of_own_table);
        (where_columns_are(task, tables, own), own)
    } else {
        (format!("grant it to `{}`: `authd grants` prints the statements", server.user), true)
    };
    if task.part == Part::SignInAudit {
        let text = format!("sign-ins are not recorded. Missing: {lacks}; {advice}");
        return Finding::warning(task.name, text);
    }
    let finding = Finding::error(task.name, format!("missing: {lacks}; {advice}"));
    if stops { finding.stops() } else { finding }
}

fn where_tables_are(task: &Task, tables: &Tables, server: &Server) -> String {
    let missing: BTreeSet<&str> = task
        .lacks
        .iter()
        .filter_map(|lack| match lack {
            Lack::Table { table } => Some(*table),
            _ => None,
        })
        .collect();
    let elsewhere = tables.elsewhere.iter().find(|there| missing.contains(&*there.table));
    match elsewhere {
        Some(there) if !there.is_usable => format!(
            "`{}` is in the schema `{}`, which `{}` may not use: `authd grants` prints the statement \
             that allows it",
            there.table, there.schema, server.user
        ),
        Some(there) => format!(
            "`{}` is in the schema `{}`, and only {} are searched: set `search_path` for the role or \
             in the database URL",
            there.table,
            there.schema,
            list(&tables.search_path)
        ),
        None if missing.iter().all(|table| table.starts_with("authd_")) => {
            format!("run {}", migrate(tables.owner))
        }
        None => format!(
            "no schema of the database `{}` has it: is this the control plane's database? Without a \
             control plane, run `authd migrate`",
            server.database
        ),
    }
}

fn where_columns_are(task: &Task, tables: &Tables, own: bool) -> String {
    let generation = tables.generation;
    if own {
        return format!("run {}", migrate(tables.owner));
    }
    let of_sign_in = [Part::SignIn, Part::IdentityPins].contains(&task.part);
    if !of_sign_in && generation < Generation::V2_24 {
        return format!(
            "the tables are those of {generation}, and app access begins with {}: upgrade the control \
             plane, or leave out --access-url",
            Generation::V2_24
        );
    }
    format!(
        "the tables are otherwise those of {generation}. An upgrade of the control plane may be in \
         progress; if not, they belong to a release that only a newer authd may know"
    )
}

fn of_keys(keys: &Keys, rotation: bool) -> Finding {
    let name = format!("keys {}", keys.feature.as_str());
    match (keys.readable, &keys.problem) {
        (0, Some(problem)) => Finding::error(name, format!("none can be read: {problem}")).stops(),
        (readable, Some(problem)) => {
            let text = format!("{readable} can be read, and others are skipped: {problem}");
            Finding::warning(name, text)
        }
        (0, None) if !rotation => Finding::error(
            name,
            "there are none, and `key_rotation` is off; leave it on unless the control plane \
             creates keys",
        ),
        (0, None) => Finding::ok(name, "there are none yet; `authd serve` creates them"),
        (readable, None) => Finding::ok(name, format!("{readable} can be read")),
    }
}

/// Whether the next key can be encrypted; the stored ones are checked by [`of_keys`]
fn of_encryption(encryption: &Encryption) -> Vec<Finding> {
    const SUBJECT: &str = "encryption";
    let Encryption { active, has_keys, .. } = encryption;
    if active.is_empty() {
        return match has_keys {
            true => vec![Finding::warning(
                SUBJECT,
                "--external-token-encryption-keys is set, but the control plane does not encrypt",
            )],
            false => Vec::new(),
        };
    }
    let unknown = active.iter().filter(|key| !key.is_known).map(|key| {
        Finding::warning(
            SUBJECT,
            format!(
                "the control plane encrypts with a key that is not among \
                 --external-token-encryption-keys, with the digest `{}`; add it, or the keys of app \
                 access cannot be replaced",
                key.digest
            ),
        )
    });
    let unknown: Vec<Finding> = unknown.collect();
    match unknown.is_empty() {
        true => {
            vec![Finding::ok(SUBJECT, "the control plane encrypts, and its keys are known")]
        }
        false => unknown,
    }
}

fn of_index(index: &Index) -> Finding {
    const SUBJECT: &str = "index for sign-in";
    match index {
        Index::Valid { name } => Finding::ok(SUBJECT, format!("`{name}`")),
        Index::Invalid { name } => Finding::warning(
            SUBJECT,
            format!(
                "`{name}` is not used, because building it has failed or is in progress; if it has \
                 failed: REINDEX INDEX CONCURRENTLY {name}"
            ),
        ),
        Index::Missing { agents, create } => Finding::warning(
            SUBJECT,
            format!("missing, so that each sign-in reads all {agents} agents: {create}"),
        ),
        _ => Finding::warning(SUBJECT, "unknown"),
    }
}

fn migrate(owner: Owner) -> &'static str {
    match owner {
        Owner::Authd => "`authd migrate`",
        Owner::ControlPlane => "`authd migrate --owned-only`",
    }
}

/// Joins names as `a`, `b` and `c`
fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        None => "no schemas".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

/// In seconds, as much as is tolerated in tokens
const CLOCK_DIFFERENCE: f64 = 5.0;
