use std::io::{self, BufWriter, IsTerminal, Seek, Stderr, Write, stderr};
use std::path::Path;

use fleet_import::{
    DocumentError, Event, ExportError, ImportError, Listing, Meter, NewFile, Options, Secrets,
    Source,
};
use store::import::Details;

use super::acts::{ActKind, of_operator};
use super::database::with_store;
use super::error::CommandError;
use super::files::{seekable, unreadable};
use crate::cli::{ExportArgs, ImportArgs};
use crate::clock::system_clock;

/// Imports a document into the database, and prints what differed
pub(super) async fn run(args: ImportArgs) -> Result<(), CommandError> {
    let failed = |error| match error {
        ImportError::Document(error) => invalid(&args.file, error),
        ImportError::Io(error) => unreadable(&args.file)(error),
        ImportError::Store(error) => error.into(),
        error => CommandError::Usage(error.to_string()),
    };
    let source = Source::open(seekable(&args.file)?).map_err(|error| failed(error.into()))?;
    let details = if args.dry_run || args.json { Details::All } else { Details::First(LISTED) };
    let act = Some(of_operator(ActKind::Import));
    let options = Options { dry_run: args.dry_run, details, now: system_clock()().into(), act };
    // Printed when the transaction has ended: a pager that waits must not keep rows locked.
    let differences = fleet_import::scratch(&std::env::temp_dir(), &mut io::empty());
    let differences = differences.map_err(CommandError::Output)?;
    let mut listing = Listing::new(BufWriter::new(differences), args.json);
    let mut meter = meter();
    let report = |event| match event {
        Event::Difference(difference) => listing.add(&difference),
        event => meter.report(&event),
    };
    let imported = with_store(args.config, async |store| {
        fleet_import::import(store, source, options, report).await.map_err(failed)
    })
    .await;
    meter.end();
    let print = |outcome| {
        let listed = listing.end(&outcome, args.dry_run)?;
        let mut listed = listed.into_inner().map_err(io::IntoInnerError::into_error)?;
        listed.rewind()?;
        io::copy(&mut listed, &mut io::stdout().lock())
    };
    print(imported?).map(drop).map_err(CommandError::Output)
}

/// Writes what is in the database as a document
pub(super) async fn export(args: ExportArgs) -> Result<(), CommandError> {
    let secrets = if args.with_secrets { Secrets::Write } else { Secrets::LeaveOut };
    let file = args.output.as_deref().map(NewFile::beside).transpose();
    let file = file.map_err(CommandError::Output)?;
    let out: Box<dyn Write + Send> = match &file {
        Some(file) => Box::new(file.as_ref().try_clone().map_err(CommandError::Output)?),
        None => Box::new(io::stdout()),
    };
    let mut meter = meter();
    let exported = with_store(args.config, async |store| {
        let mut rows = store.begin_export().await?;
        let report = |event| meter.report(&event);
        let written = fleet_import::export(&mut rows, secrets, BufWriter::new(out), report).await;
        written.map_err(|error| match error {
            ExportError::Io(error) => CommandError::Output(error),
            ExportError::Store(error) => error.into(),
            error => CommandError::Usage(error.to_string()),
        })
    })
    .await;
    meter.end();
    exported?;
    file.map_or(Ok(()), NewFile::put_in_place).map_err(CommandError::Output)
}

/// Shows progress on standard error: a bar on a terminal, and lines of the log otherwise
fn meter() -> Meter<Stderr> {
    let log: fn(&str) = |line| tracing::info!("{line}");
    Meter::new(stderr(), (!stderr().is_terminal()).then_some(log))
}

fn invalid(path: &Path, error: DocumentError) -> CommandError {
    CommandError::Document { path: path.to_owned(), error }
}

/// The most differences of a table and a kind that an import prints without `--json`
const LISTED: u32 = 20;
