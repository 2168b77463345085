use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use agent_token::{Backoff, BaseUrl, Cloud, Machine, TokenFile};

use super::error::CommandError;
use crate::cli::{AgentTokenArgs, MetadataCloud};
use crate::clock::system_clock;
use crate::random::random_bytes;

/// Fetches the session token of this machine's agent, and prints it or writes it to a file
pub(super) async fn run(args: AgentTokenArgs) -> Result<(), CommandError> {
    let url = |option: &str, text: &str| {
        BaseUrl::parse(text).map_err(|error| CommandError::Usage(format!("`{option}`: {error}")))
    };
    let control_plane = url("--url", &args.url)?;
    let metadata = args.metadata_url.as_deref().map(|text| url("--metadata-url", text));
    let metadata = metadata.transpose()?;
    if metadata.as_ref().is_some_and(BaseUrl::is_tls) {
        let problem = "`--metadata-url`: metadata services are reached without TLS, by http://";
        return Err(CommandError::Usage(problem.to_owned()));
    }
    // Checked before the token is waited for, so that a typo fails at once.
    let file = args.output.as_deref().map(TokenFile::at).transpose().map_err(|error| {
        let path = args.output.as_deref().unwrap_or_else(|| Path::new("")).display();
        CommandError::Usage(format!("`--output`: `{path}` is not usable: {error}"))
    })?;
    let report = Arc::new(|line: &str| {
        // If standard error is closed, there is nowhere to report it.
        let _ = writeln!(std::io::stderr(), "authd: {line}");
    });
    let backoff = Backoff::new(Arc::new(jitter));
    let mut machine = Machine::new(control_plane, backoff, system_clock(), report)
        .in_environment(|name| std::env::var(name).ok(), args.ca_file.as_deref())?;
    machine.metadata = metadata;
    machine.cloud = match args.cloud {
        MetadataCloud::Auto => None,
        MetadataCloud::Aws => Some(Cloud::Aws),
        MetadataCloud::Azure => Some(Cloud::Azure),
        MetadataCloud::Google => Some(Cloud::Google),
    };
    machine.agent_name = args.agent_name;
    machine.audience = args.audience;
    machine.retry_timeout = args.retry_timeout;

    let token = machine.sign_in().await?;
    match file {
        Some(file) => file.write(&token).map_err(|error| CommandError::TokenFile {
            path: args.output.unwrap_or_default(),
            error,
        }),
        None => writeln!(std::io::stdout(), "{}", token.reveal()).map_err(CommandError::Output),
    }
}

/// A random number from 0 up to 1; a half if the system has no random bytes yet
fn jitter() -> f64 {
    random_bytes().map_or(0.5, |[byte]| f64::from(byte) / 255.0)
}
