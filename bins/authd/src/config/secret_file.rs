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
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text));
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let secret = line.strip_suffix('\r').unwrap_or(line);
    let error = match read {
        Ok(_) if secret.is_empty() => io::Error::other("it is empty"),
        Ok(length) if u64::try_from(length).is_ok_and(|length| length <= LARGEST) => {
            return Ok(secret.to_owned());
        }
        Ok(_) => io::Error::other("it is larger than 64 KiB"),
        Err(error) => error,
    };
    Err(ConfigError::Unreadable { path: path.to_owned(), error })
}

/// In bytes
const LARGEST: u64 = 64 * 1024;
