use std::path::Path;

use super::error::ConfigError;
use super::settings::Settings;

/// Reads a TOML file of settings, and replaces those that `stronger` has too
///
/// # Errors
///
/// [`ConfigError`] if the file cannot be read, or has an unknown key or an invalid value.
pub(super) fn read_under(path: &Path, stronger: &Settings) -> Result<Settings, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
    // The file is parsed on its own first, so that an error has the number of its line.
    let file =
        parse(&text).map_err(|reason| ConfigError::Malformed { path: path.to_owned(), reason })?;
    let mut merged = toml::Table::try_from(&file).map_err(ConfigError::Merge)?;
    merged.extend(toml::Table::try_from(stronger).map_err(ConfigError::Merge)?);
    merged.try_into().map_err(ConfigError::Merged)
}

/// Parses the text of a file
///
/// # Errors
///
/// The key, the line and the reason. The text is not quoted, because it may hold passwords.
fn parse(text: &str) -> Result<Settings, String> {
    let at_line = |error: &toml::de::Error| match error.span() {
        Some(span) => {
            let line = 1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count();
            format!("line {line}: {}", error.message())
        }
        None => error.message().to_owned(),
    };
    let toml = toml::Deserializer::parse(text).map_err(|error| at_line(&error))?;
    serde_path_to_error::deserialize(toml).map_err(|error| {
        let reason = at_line(error.inner());
        match error.path().to_string().as_str() {
            "." | "?" => reason,
            key => format!("`{key}`: {reason}"),
        }
    })
}
