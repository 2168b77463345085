use std::ops::Range;

use serde::de::DeserializeOwned;
use thiserror::Error;

/// Reads TOML
///
/// # Errors
///
/// [`Malformed`], which quotes no line of the text: it may hold passwords and tokens.
pub fn from_toml<T: DeserializeOwned>(text: &str) -> Result<T, Malformed> {
    let at = |error: toml::de::Error, key: String| {
        let reason = error.message();
        let reason = match error.span() {
            Some(Range { start, .. }) => format!("line {}: {reason}", line(text, start)),
            None => reason.to_owned(),
        };
        Malformed { key, reason }
    };
    let toml = toml::Deserializer::parse(text).map_err(|error| at(error, String::new()))?;
    serde_path_to_error::deserialize(toml).map_err(|error| {
        let key = key(error.path());
        at(error.into_inner(), key)
    })
}

/// The path as people write it; empty for the text as a whole, and if the path is unknown
pub(crate) fn key(path: &serde_path_to_error::Path) -> String {
    match path.to_string() {
        key if matches!(&*key, "." | "?") => String::new(),
        key => key,
    }
}

/// The number of the line that the byte is on
fn line(text: &str, byte: usize) -> usize {
    let before = text.bytes().take(byte);
    before.filter(|byte| *byte == b'\n').count() + 1
}

/// Why a text does not parse, and where
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{}{reason}", if key.is_empty() { String::new() } else { format!("`{key}`: ") })]
pub struct Malformed {
    /// The path, such as `listen` or `users[0].name`; empty for the text as a whole
    pub key: String,
    /// The reason, with the line
    pub reason: String,
}
