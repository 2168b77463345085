use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use private_postgres::Persistent;
use serde::Serialize;
use store::PgStore;
use store::inspection::Inspection;

use super::serve::{blocking, private_settings};
use super::{CommandError, printable};
use crate::check::{self, Finding, State, TESTED};
use crate::cli::{CheckArgs, Cli};
use crate::clock::system_clock;
use crate::config::{Config, StoreConfig, unknown_environment};
use crate::trust::Trust;
use authd_http::error_chain as chain;

/// Looks at settings, trust and database, and prints what `serve` would meet
pub(crate) async fn run(args: CheckArgs) -> Result<ExitCode, CommandError> {
    let mut findings = Vec::new();
    let mut inspection = None;
    match args.config.resolve() {
        Ok(config) => {
            findings.extend(check::of_settings(&config));
            findings.extend(of_trust(&config));
            let (of_database, inspected) = of_database(&config).await;
            findings.extend(of_database);
            inspection = inspected;
        }
        Err(error) => findings.push(Finding::error("settings", chain(&error))),
    }
    findings.extend(
        unknown_environment(&Cli::command()).into_iter().map(|name| {
            Finding::warning(name, "this environment variable is not a setting of authd")
        }),
    );
    let first = findings.iter().find(|finding| finding.state == State::Error);
    let report = Report {
        ok: first.is_none(),
        version: env!("CARGO_PKG_VERSION"),
        findings: &findings,
        database: inspection.as_ref(),
        tested: TESTED.map(|(release, migration)| Tested { release, migration }),
    };
    let out = std::io::stdout().lock();
    let printed = if args.json { print_json(out, &report) } else { print_table(out, &findings) };
    printed.map_err(CommandError::Output)?;
    match first {
        None => Ok(ExitCode::SUCCESS),
        Some(finding) => Err(CommandError::Check(printable(&finding.line()))),
    }
}

/// What `--json` prints
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    version: &'static str,
    findings: &'a [Finding],
    database: Option<&'a Inspection>,
    tested: [Tested; TESTED.len()],
}

#[derive(Serialize)]
struct Tested {
    release: &'static str,
    migration: i64,
}

fn of_trust(config: &Config) -> Vec<Finding> {
    match Trust::read(config.identity.trust_dir.as_deref()) {
        Ok(trust) => check::of_trust(&trust, &config.identity, system_clock()()),
        Err(error) => vec![Finding::error("trust_dir", chain(&error)).stops()],
    }
}

async fn of_database(config: &Config) -> (Vec<Finding>, Option<Inspection>) {
    let looked = match &config.store {
        StoreConfig::Memory => {
            let text = "in memory: all is forgotten at exit, and nothing else can fill it";
            return (vec![Finding::ok("database", text)], None);
        }
        StoreConfig::Postgres { url, .. } => look(url.reveal(), config).await,
        StoreConfig::Private { data_dir, .. } if !data_dir.join("data").exists() => {
            let text = format!(
                "none in {}; `authd serve` makes one there, as no `database_url` is set",
                data_dir.display()
            );
            return (vec![Finding::warning("database", text)], None);
        }
        StoreConfig::Private { data_dir, postgres_bin, .. } => {
            let (data_dir, settings) =
                (data_dir.clone(), private_settings(postgres_bin.as_deref()));
            match blocking(move || Persistent::start(&data_dir, &settings)).await {
                Ok(database) => {
                    let looked = look(&database.url(), config).await;
                    let stopped = blocking(move || database.stop()).await;
                    stopped.and(looked)
                }
                Err(error) => Err(error),
            }
        }
    };
    match looked {
        Ok((findings, inspection)) => (findings, Some(inspection)),
        Err(error) => (vec![Finding::error("database", chain(&error)).stops()], None),
    }
}

async fn look(url: &str, config: &Config) -> Result<(Vec<Finding>, Inspection), CommandError> {
    let store = PgStore::connect(url, &config.store_options()).await?;
    Ok(check::look(&store, config).await?)
}

fn print_json(mut out: impl Write, report: &Report<'_>) -> std::io::Result<()> {
    serde_json::to_writer_pretty(&mut out, report)?;
    writeln!(out)
}

fn print_table(mut out: impl Write, findings: &[Finding]) -> std::io::Result<()> {
    writeln!(out, "{:<7}  {:<26}  FOUND", "STATE", "WHAT")?;
    for Finding { state, subject, text, .. } in findings {
        let (state, text) = (state.as_str(), printable(text));
        writeln!(out, "{state:<7}  {subject:<26}  {text}")?;
    }
    Ok(())
}
