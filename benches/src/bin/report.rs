//! `report`: see the module of the same name

use std::error::Error;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use authd_benches::report::{self, Report};
use authd_benches::{Binary, Effort, Setting, Suite, suites};
use clap::Parser;

/// As `authd` has
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measure authd against its floors, and judge the figures by the goals
///
/// Starts private PostgreSQL servers, and `authd` where the real program is needed. The two sides of a
/// row are measured in turn, in short rounds; the median over the rounds is judged. Exit status 0: all
/// goals are reached. 1: a goal is missed, or the report could not be made. 2: the options are not
/// valid.
#[derive(Parser)]
#[command(name = "report")]
struct Args {
    /// Run each row once, on small data, and judge nothing
    #[arg(long)]
    check: bool,
    /// Take twice as long for each row
    #[arg(long, conflicts_with = "check")]
    long: bool,
    /// Suites to run, separated by commas [default: all]
    #[arg(long, value_name = "SUITES", value_delimiter = ',')]
    only: Vec<String>,
    /// Print the rows and their goals, and measure nothing
    #[arg(long)]
    list: bool,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the document with these figures
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// Read the figures from earlier JSON instead of measuring; a later file replaces rows of an
    /// earlier one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["check", "long", "only"])]
    from: Vec<PathBuf>,
    /// Workspaces of the larger deployment, where growth is measured [default: 100000]
    ///
    /// A million take some minutes and a few gigabytes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    growth_workspaces: Option<u64>,
    /// `shared_buffers` of PostgreSQL where growth is measured, such as `6GB` [default:
    /// PostgreSQL's]
    #[arg(long, value_name = "SIZE")]
    growth_shared_buffers: Option<String>,
    /// The `authd` whose memory is measured [default: built by cargo, beside this program]
    #[arg(long, value_name = "FILE", env = "AUTHD_BINARY")]
    authd: Option<PathBuf>,
    /// The program that counts allocations [default: built by cargo, beside this program]
    #[arg(long, value_name = "FILE")]
    allocations: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            // If standard error cannot be written, the status has to suffice.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<ExitCode, Box<dyn Error>> {
    let selected = select(&args.only)?;
    if args.list {
        list(&selected)?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = match Report::read(&args.from)? {
        Some(report) => report,
        None => measure(&args, &selected)?,
    };
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    if let Some(file) = &args.document {
        std::fs::write(file, report::document(&report)?)?;
    }
    let missed = report.missed().count();
    let mut out = io::stdout().lock();
    writeln!(out, "\n{}", report.machine)?;
    let judged = report.rows.iter().filter(|row| row.met.is_some()).count();
    writeln!(out, "{} rows, {judged} judged, {missed} missed", report.rows.len())?;
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn select(only: &[String]) -> Result<Vec<&'static Suite>, String> {
    let is_known = |id: &&String| suites::ALL.iter().any(|suite| suite.id == **id);
    if let Some(id) = only.iter().find(|id| !is_known(id)) {
        let known: Vec<_> = suites::ALL.iter().map(|suite| suite.id).collect();
        return Err(format!("`{id}` is not a suite; there are {}", known.join(", ")));
    }
    let is_selected = |suite: &&Suite| only.is_empty() || only.iter().any(|id| id == suite.id);
    Ok(suites::ALL.into_iter().filter(is_selected).collect())
}

fn list(suites: &[&Suite]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for suite in suites {
        writeln!(out, "{}: {}\n    {}", suite.id, suite.title, suite.command())?;
        for row in suite.rows {
            let floor = if row.floor.is_empty() { "a limit" } else { row.floor };
            writeln!(out, "    {}, against {floor}: {}", row.name, row.goal_text())?;
        }
    }
    Ok(())
}

fn measure(args: &Args, suites: &[&Suite]) -> io::Result<Report> {
    let effort = match (args.check, args.long) {
        (true, _) => Effort::Check,
        (false, true) => Effort::Long,
        (false, false) => Effort::Short,
    };
    let mut setting = Setting::new(effort);
    if let Some(workspaces) = args.growth_workspaces {
        setting.growth_workspaces = workspaces;
    }
    setting.growth_shared_buffers.clone_from(&args.growth_shared_buffers);
    if let Some(path) = &args.authd {
        setting.binary = Binary::At(path.clone());
    }
    let is_counted = suites.iter().any(|suite| suites::WITH_ALLOCATIONS.contains(&suite.id));
    setting.counted = if is_counted {
        report::count_allocations(args.allocations.as_deref())?
    } else {
        Vec::new()
    };
    let mut last = "";
    let mut written = Ok(());
    let report = Report::run(suites, &setting, |suite, finding| {
        let mut out = io::stdout().lock();
        let head = (suite.id != last).then(|| report::head(suite.title));
        let lines = head.into_iter().chain([report::line(finding)]).collect::<Vec<_>>();
        let shown = writeln!(out, "{}", lines.join("\n"));
        written = std::mem::replace(&mut written, Ok(())).and(shown);
        last = suites.iter().find(|known| known.id == suite.id).map_or("", |known| known.id);
    });
    written.map(|()| report)
}
