use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::OnceLock;
use std::time::Duration;

use log_queue::LogQueue;
use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, LogFormat};

/// Starts to write the log to standard error
///
/// Lines are written by a thread of their own, so a slow reader of standard error delays nothing,
/// and one that stops reading costs lines. Without a `format`, a terminal gets text and a pipe or
/// a file gets JSON.
///
/// # Errors
///
/// If `level` is not a filter directive such as `info` or `authd=debug,warn`.
pub(crate) fn start(level: &str, format: Option<LogFormat>) -> Result<(), ConfigError> {
    let filter =
        EnvFilter::try_new(level).map_err(|_| ConfigError::LogFilter { word: level.to_owned() })?;
    let queue = match QUEUE.get() {
        Some(queue) => queue,
        None => {
            let queue = LogQueue::of_standard_error(report_gap).map_err(ConfigError::Log)?;
            QUEUE.get_or_init(|| queue)
        }
    };
    let terminal = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(terminal)
        .with_writer(queue.clone());
    // The process keeps its first subscriber.
    let _ = match format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json }) {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).try_init(),
    };
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Whether the log has lines of this level; it has none before it is started
pub(crate) fn tells(level: tracing::Level) -> bool {
    QUEUE.get().is_some() && tracing::level_filters::LevelFilter::current() >= level
}

/// Returns how many lines could not be written
pub(crate) fn dropped_lines() -> u64 {
    QUEUE.get().map_or(0, LogQueue::dropped)
}

/// Prints a line to standard error, after the lines of the log
pub(crate) fn print(line: &str) {
    match QUEUE.get() {
        Some(queue) => queue.push(format!("{line}\n").as_bytes()),
        // If standard error is closed, the exit status still says it.
        None => drop(writeln!(io::stderr(), "{line}")),
    }
}

/// Lets the last lines of the process wait for a slow reader
pub(crate) fn stopping() {
    if let Some(queue) = QUEUE.get() {
        queue.wait_for_room(STOPPING);
    }
}

/// Waits until the lines so far are written, for two seconds at most
pub(crate) fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(LAST_LINES);
    }
}

fn report_gap(lines: u64) {
    tracing::error!(
        lines,
        "lines of the log were dropped, because standard error was not read; it is again"
    );
}

/// Writes a panic to the log: the standard library's hook waits for standard error
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let backtrace = Backtrace::capture();
    let backtrace =
        (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        panic = panic.payload_as_str().unwrap_or("a value that is not text"),
        location = panic.location().map(tracing::field::display),
        thread = thread.name(),
        backtrace,
        "panicked"
    );
    // A panic of the main thread ends the process.
    if thread.name() == Some("main") {
        flush();
    }
}

/// `tracing` has one subscriber for the process, and so there is one queue
static QUEUE: OnceLock<LogQueue> = OnceLock::new();

/// Visits that are still not recorded after ten seconds are written to the log, and may be many
const STOPPING: Duration = Duration::from_secs(12);

/// How long a process that ends waits for the reader of its last lines
const LAST_LINES: Duration = Duration::from_secs(2);
