use std::io::Write;
use std::process::ExitCode;

use authd_http::error_chain;
use authd_server::Tls;
use clap::CommandFactory;
use private_postgres::Persistent;
use serde::Serialize;
use store::inspection::Inspection;
use store::releases::TESTED;
use trust_folder::Trust;

use super::database::{place_of, with_database};
use super::error::CommandError;
use super::output::printable;
use crate::check::{self, Finding, State};
use crate::cli::{CheckArgs, Cli};
use crate::clock::system_clock;
use crate::config::{Config, StoreConfig, TlsFiles, unknown_environment};

/// Checks settings, trust and database, and prints the findings
pub(super) async fn run(args: CheckArgs) -> Result<ExitCode, CommandError> {
    let mut findings = Vec::new();
    let mut inspection = None;
    match args.config.resolve() {
        Ok(config) => {
            findings.extend(check::of_settings(&config));
            findings.extend(of_trust(&config));
            findings.extend(config.listen.tls.as_ref().map(of_tls));
            findings.extend(of_providers(&config).await);
            let (of_database, inspected) = of_database(&config).await;
            findings.extend(of_database);
            inspection = inspected;
        }
        Err(error) => findings.push(Finding::error("settings", error_chain(&error))),
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

/// Whether the identity providers that are set can be asked
async fn of_providers(config: &Config) -> Vec<Finding> {
    let now = system_clock()();
    let mut findings = Vec::new();
    if let Some(oidc) = &config.oidc
        && let Err(problem) = oidc.ask(now).await
    {
        findings.push(Finding::error("oidc_issuer_url", problem));
    }
    if let Err(problem) = config.refresh.ask(now).await {
        findings.push(Finding::error("refresh_oidc_issuer_url", problem));
    }
    findings
}

/// The output of `--json`
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
        Err(error) => vec![Finding::error("trust_dir", error_chain(&error)).stops()],
    }
}

fn of_tls(files: &TlsFiles) -> Finding {
    match Tls::load(&files.certificate, &files.key) {
        Ok(tls) => check::of_tls(tls.expires(), system_clock()()),
        Err(error) => Finding::error("tls_cert", error.to_string()).stops(),
    }
}

async fn of_database(config: &Config) -> (Vec<Finding>, Option<Inspection>) {
    let finding = match &config.store {
        StoreConfig::Memory => Finding::ok(
            "database",
            "in memory: it is lost at exit, and no other command can reach it",
        ),
        StoreConfig::Private { data_dir, .. } if !Persistent::exists(data_dir) => {
            let data_dir = data_dir.display();
            Finding::warning(
                "database",
                format!(
                    "{data_dir} does not have one; `authd serve` creates one there, because \
                     `database_url` is not set"
                ),
            )
        }
        StoreConfig::Postgres { .. } | StoreConfig::Private { .. } => {
            let checked =
                with_database(config, async |store| Ok(check::of_database(store, config).await?));
            match checked.await {
                Ok((mut findings, inspection)) => {
                    let place = place_of(&config.store).unwrap_or_default();
                    if let Some(finding) = findings.iter_mut().find(|f| f.subject == "database") {
                        finding.text.push_str(&format!("; {place}"));
                    }
                    return (findings, Some(inspection));
                }
                Err(error) => Finding::error("database", error_chain(&error)).stops(),
            }
        }
    };
    (vec![finding], None)
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
