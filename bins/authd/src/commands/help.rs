use std::io::Write;
use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;

use super::error::CommandError;
use crate::cli::{Cli, command};

/// Prints the completions of a shell, which know all options
pub(super) fn print_completions(shell: Shell) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    std::io::stdout().write_all(&script).map_err(CommandError::Output)
}

/// Prints the manual page of `authd`, or writes one page for each command into a folder
pub(super) fn write_manual(folder: Option<PathBuf>) -> Result<(), CommandError> {
    let command = command().name(NAME);
    match folder {
        Some(folder) => clap_mangen::generate_to(command, &folder)
            .map_err(|error| CommandError::Folder { path: folder, error }),
        None => {
            let manual = clap_mangen::Man::new(command);
            manual.render(&mut std::io::stdout()).map_err(CommandError::Output)
        }
    }
}

/// Prints the help of all settings
pub(super) fn print_settings() -> Result<(), CommandError> {
    let mut command = command();
    let settings = command.find_subcommand_mut("settings");
    settings.map_or(Ok(()), clap::Command::print_long_help).map_err(CommandError::Output)
}

const NAME: &str = "authd";
