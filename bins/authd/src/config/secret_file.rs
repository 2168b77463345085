use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::error::ConfigError;

/// The secret in the file of a setting, if the setting has one and is not set itself
pub(super) fn of_setting(
    setting: &'static str,
    is_set: bool,
    file: Option<&Path>,
) -> Result<Option<String>, ConfigError> {
    match file.filter(|file| !file.as_os_str().is_empty()) {
        Some(_) if is_set => Err(ConfigError::Twice { setting }),
        Some(file) => read(file).map(Some),
        None => Ok(None),
    }
}

/// Reads a secret out of a file, without the line break at its end
///
/// # Errors
///
/// If the file cannot be read, is empty, is not UTF-8, or is larger than 64 KiB. The error names the
/// file, and quotes nothing of it.
fn read(path: &Path) -> Result<String, ConfigError> {
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

#[cfg(test)]
mod tests {
    use std::env::temp_dir;

    use super::*;

    #[test]
    fn a_secret_is_the_file_without_the_line_break_at_its_end() {
        let path = temp_dir().join(format!("authd-secret-{}", std::process::id()));
        let large = "x".repeat(64 * 1024);
        for (content, secret) in [
            ("secret", Some("secret")),
            ("secret\n", Some("secret")),
            ("secret\r\n", Some("secret")),
            (" two words \n", Some(" two words ")),
            ("a\nb\n", Some("a\nb")),
            ("a\n\n", Some("a\n")),
            (&large, Some(&*large)),
            (&format!("{large}x"), None),
            ("", None),
            ("\n", None),
            ("\r\n", None),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read(&path).ok().as_deref(), secret, "{:?}", content.get(..9));
        }
        std::fs::write(&path, b"caf\xe9").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("authd-secret") && !error.contains("caf"), "{error}");
        std::fs::remove_file(&path).unwrap();
        read(&path).unwrap_err();
    }
}
