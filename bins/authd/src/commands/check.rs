//! Whether the settings and the trust folder do what they seem to

use std::io::Write;
use std::process::ExitCode;

use serde_json::json;

use super::CommandError;
use crate::app::system_clock;
use crate::cli::CheckArgs;
use crate::trust::Trust;

/// Prints what can do nothing, one line for each
///
/// The exit status is 1 if there is any.
pub(crate) fn run(args: CheckArgs) -> Result<ExitCode, CommandError> {
    let config = args.config.resolve()?;
    let trust = Trust::read(config.identity.trust_dir.as_deref())?;
    let settings = config.identity.idle_beside(&trust).map(|idle| idle.to_string());
    let files = trust.idle_files(system_clock()()).map(|idle| idle.to_string());
    let found: Vec<String> = settings.chain(files).collect();
    let mut out = std::io::stdout().lock();
    for problem in &found {
        match args.json {
            true => writeln!(out, "{}", json!({ "level": "warning", "message": problem })),
            false => writeln!(out, "warning: {problem}"),
        }
        .map_err(CommandError::Output)?;
    }
    if found.is_empty() && !args.json {
        writeln!(out, "settings and trust folder: nothing to complain about")
            .map_err(CommandError::Output)?;
    }
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
