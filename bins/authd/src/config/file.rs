use std::collections::BTreeMap;
use std::path::Path;

use clap::Args;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use toml::{Deserializer, Spanned};

use super::Groups;
use super::error::ConfigError;

/// Reads a TOML file of settings, and replaces those that `stronger` has too
///
/// # Errors
///
/// [`ConfigError`] if the file cannot be read, or has an unknown key or an invalid value.
pub(super) fn read_under(path: &Path, stronger: &Groups) -> Result<Groups, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
    // The file is parsed on its own first, so that an error has the number of its line.
    let file =
        parse(&text).map_err(|reason| ConfigError::Malformed { path: path.to_owned(), reason })?;
    Ok(Groups {
        listening: merged(&file.listening, &stronger.listening)?,
        stored: merged(&file.stored, &stronger.stored)?,
        settings: merged(&file.settings, &stronger.settings)?,
        oidc: merged(&file.oidc, &stronger.oidc)?,
    })
}

fn merged<T: Serialize + DeserializeOwned>(file: &T, stronger: &T) -> Result<T, ConfigError> {
    let mut merged = toml::Table::try_from(file).map_err(ConfigError::Merge)?;
    merged.extend(toml::Table::try_from(stronger).map_err(ConfigError::Merge)?);
    merged.try_into().map_err(ConfigError::Merged)
}

/// Parses the text of a file
///
/// # Errors
///
/// The key, the line and the reason. The text is not quoted, because it may hold passwords.
pub(super) fn parse(text: &str) -> Result<Groups, String> {
    let keys: BTreeMap<Spanned<String>, IgnoredAny> = deserialize(text)?;
    let known = Groups::augment_args(clap::Command::new("settings"));
    let is_known = |key: &str| {
        let name = key.strip_prefix("gcp_").filter(|rest| OF_GOOGLE.contains(rest));
        let name = name.map_or_else(|| key.to_owned(), |rest| format!("google_{rest}"));
        known.get_arguments().any(|setting| setting.get_id() == name.as_str())
    };
    if let Some(key) = keys.keys().find(|key| !is_known(key.get_ref())) {
        let line = line_at(text, key.span().start);
        return Err(format!("line {line}: `{}` is not a setting", key.get_ref()));
    }
    Ok(Groups {
        listening: deserialize(text)?,
        stored: deserialize(text)?,
        settings: deserialize(text)?,
        oidc: deserialize(text)?,
    })
}

fn deserialize<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let at_line = |error: &toml::de::Error| match error.span() {
        Some(span) => format!("line {}: {}", line_at(text, span.start), error.message()),
        None => error.message().to_owned(),
    };
    let toml = Deserializer::parse(text).map_err(|error| at_line(&error))?;
    serde_path_to_error::deserialize(toml).map_err(|error| {
        let reason = at_line(error.inner());
        match error.path().to_string().as_str() {
            "." | "?" => reason,
            key => format!("`{key}`: {reason}"),
        }
    })
}

/// The number of the line that has this byte
fn line_at(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|byte| *byte == b'\n').count()
}

/// The settings that may also begin with `gcp_`
const OF_GOOGLE: [&str; 5] = [
    "allowed_projects",
    "allowed_service_accounts",
    "audience",
    "max_instance_age_seconds",
    "max_lifetime_seconds",
];
