use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::error::ConfigError;

/// Reads a secret out of a file, without the line break at its end
///
/// # Errors
///
/// If the file cannot be read, is empty, is not UTF-8, or is larger than 64 KiB. The error names the
/// file, and quotes nothing of it.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |error| ConfigError::Unreadable { path: path.to_owned(), error };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(unreadable)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > LARGEST) {
        return Err(unreadable(io::Error::other("it is larger than 64 KiB")));
    }
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    match secret.is_empty() {
        true => Err(unreadable(io::Error::other("it is empty"))),
        false => Ok(secret.to_owned()),
    }
}

/// In bytes
const LARGEST: u64 = 64 * 1024;
