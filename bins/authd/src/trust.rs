use std::path::{Path, PathBuf};

use identity_verify::aws;
use thiserror::Error;

/// Reads the keys an operator trusts beyond the built-in ones
///
/// `DIR/aws/REGION.pem` holds certificates or public keys of that region. Other
/// files are an error: a key that is silently not trusted costs somebody a night.
///
/// # Errors
///
/// If the folder or a file cannot be read, or holds no RSA key.
pub(crate) fn aws_keys(trust_dir: Option<&Path>) -> Result<aws::Keys, TrustError> {
    let mut keys = aws::Keys::builtin();
    let Some(dir) = trust_dir else { return Ok(keys) };
    // The folder itself must exist; a cloud without a folder adds nothing.
    let _ = list(dir)?;
    let dir = dir.join("aws");
    if !dir.exists() {
        return Ok(keys);
    }
    for path in list(&dir)? {
        let region = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if path.extension().is_none_or(|extension| extension != "pem") || region.is_empty() {
            return Err(TrustError::NotAKey { path });
        }
        let pem = std::fs::read(&path).map_err(|error| unreadable(&path, error))?;
        keys.add_pem(region, &pem)
            .map_err(|error| TrustError::Malformed { path: path.clone(), error })?;
    }
    Ok(keys)
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, TrustError> {
    let entries = std::fs::read_dir(dir).map_err(|error| unreadable(dir, error))?;
    let paths: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    paths.map_err(|error| unreadable(dir, error))
}

fn unreadable(path: &Path, error: std::io::Error) -> TrustError {
    TrustError::Unreadable { path: path.to_owned(), error }
}

/// Why the trust folder is not usable
#[derive(Debug, Error)]
pub(crate) enum TrustError {
    #[error("`{}` holds no RSA key to trust", path.display())]
    Malformed {
        path: PathBuf,
        #[source]
        error: identity_verify::Error,
    },
    #[error("`{}` in the trust folder is not named after a region, like `eu-west-1.pem`", path.display())]
    NotAKey { path: PathBuf },
    #[error("`{}` cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        error: std::io::Error,
    },
}
