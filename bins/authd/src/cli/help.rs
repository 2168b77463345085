use clap::{Args, CommandFactory};

use super::Cli;
use crate::config::ConfigArgs;

/// The command line, with the help that an operator reads
///
/// All commands take all settings, so that one configuration serves them all. Their help has only
/// what is usually set for them.
pub(crate) fn command() -> clap::Command {
    concise(Cli::command())
}

fn concise(command: clap::Command) -> clap::Command {
    let settings = ConfigArgs::augment_args(clap::Command::new("settings"));
    let is_setting = |arg: &clap::Arg| settings.get_arguments().any(|a| a.get_id() == arg.get_id());
    let command = command.mut_subcommands(concise);
    let takes_settings = command.get_arguments().any(is_setting);
    match command.get_name() {
        "settings" => command,
        "serve" => command.after_help(OTHER_SETTINGS).after_long_help("").mut_args(|arg| {
            let is_usual = !is_setting(&arg) || USUAL_OF_SERVE.contains(&arg.get_id().as_str());
            arg.hide_short_help(!is_usual)
        }),
        _ if takes_settings => command.after_help(SETTINGS_OF_SERVE).mut_args(|arg| {
            let is_usual = !is_setting(&arg) || USUAL.contains(&arg.get_id().as_str());
            arg.hide(!is_usual)
        }),
        _ => command,
    }
}

const OTHER_SETTINGS: &str = "`authd serve --help` describes all settings.";

const SETTINGS_OF_SERVE: &str =
    "All settings of `serve` are taken too; `authd help settings` describes them.";

const USUAL: [&str; 5] = ["config", "database_url", "database_url_file", "data_dir", "log_level"];

const USUAL_OF_SERVE: [&str; 13] = [
    "config",
    "listen",
    "admin_listen",
    "tls_cert",
    "tls_key",
    "database_url",
    "database_url_file",
    "data_dir",
    "access_url",
    "wildcard_access_url",
    "proxy_trusted_origins",
    "proxy_trusted_headers",
    "log_level",
];
