use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, LogFormat};

/// Starts to write the log to standard error
///
/// Without a `format`, a terminal gets text and a pipe or a file gets JSON.
///
/// # Errors
///
/// If `level` is not a filter directive such as `info` or `authd=debug,warn`.
pub(crate) fn start(level: &str, format: Option<LogFormat>) -> Result<(), ConfigError> {
    let filter = EnvFilter::try_new(level)
        .map_err(|error| ConfigError::LogLevel { level: level.to_owned(), error })?;
    let terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(terminal)
        .with_writer(std::io::stderr);
    // The process keeps its first subscriber.
    let _ = match format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json }) {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).try_init(),
    };
    Ok(())
}
