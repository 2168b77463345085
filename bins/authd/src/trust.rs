use std::path::{Path, PathBuf};

use identity_verify::{aws, azure, google};
use thiserror::Error;

/// Whom to believe: what the vendors publish, and what an operator adds
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    pub(crate) aws: aws::Keys,
    pub(crate) azure: azure::Trust,
    /// A key set that replaces the one Google serves, for sites without a way out
    pub(crate) google: Option<google::Jwks>,
}

impl Trust {
    /// Reads an operator's folder, and lays it beside what is built in
    ///
    /// `aws/REGION.pem` has certificates or public keys of that region,
    /// `azure/roots/*.pem` and `azure/intermediates/*.pem` certificates, and
    /// `google/jwks.json` a key set. Any other file in these folders is an error: a
    /// key that is silently not trusted costs somebody a night. But hidden ones are
    /// passed over, which a mounted Kubernetes volume has of its own.
    ///
    /// # Errors
    ///
    /// If the folder or a file cannot be read, or holds no key to trust.
    pub(crate) fn read(folder: Option<&Path>) -> Result<Self, TrustError> {
        let mut trust =
            Self { aws: aws::Keys::builtin(), azure: azure::Trust::builtin(), google: None };
        let Some(folder) = folder else { return Ok(trust) };
        // The folder itself must exist; a cloud without a folder adds nothing.
        list(folder)?;

        for path in pem_files(&folder.join("aws"))? {
            let region = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            trust.aws.add_pem(region, &read(&path)?).map_err(malformed(&path))?;
        }
        for path in pem_files(&folder.join("azure/roots"))? {
            trust.azure.add_root_pem(&read(&path)?).map_err(malformed(&path))?;
        }
        for path in pem_files(&folder.join("azure/intermediates"))? {
            trust.azure.add_intermediate_pem(&read(&path)?).map_err(malformed(&path))?;
        }
        let path = folder.join("google/jwks.json");
        if path.exists() {
            let keys = google::Jwks::parse(&read(&path)?).map_err(malformed(&path))?;
            trust.google = Some(keys);
        }
        Ok(trust)
    }
}

/// The files of a folder, all of which must be PEM files; none if there is no folder
fn pem_files(folder: &Path) -> Result<Vec<PathBuf>, TrustError> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut files = list(folder)?;
    let is_hidden = |path: &Path| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    files.retain(|path| !is_hidden(path));
    // In the order of their names, so that two replicas trust in the same order.
    files.sort_unstable();
    match files.iter().find(|path| path.extension().is_none_or(|end| end != "pem")) {
        Some(path) => Err(TrustError::NotPem { path: path.clone() }),
        None => Ok(files),
    }
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, TrustError> {
    let entries = std::fs::read_dir(folder).map_err(unreadable(folder))?;
    let paths: Result<_, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    paths.map_err(unreadable(folder))
}

fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    std::fs::read(path).map_err(unreadable(path))
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> TrustError {
    |error| TrustError::Unreadable { path: path.to_owned(), error }
}

fn malformed(path: &Path) -> impl FnOnce(identity_verify::Error) -> TrustError {
    |error| TrustError::Malformed { path: path.to_owned(), error }
}

/// Why the trust folder is not usable
#[derive(Debug, Error)]
pub(crate) enum TrustError {
    #[error("`{}` holds nothing to trust", path.display())]
    Malformed {
        path: PathBuf,
        #[source]
        error: identity_verify::Error,
    },
    #[error("`{}` in the trust folder is not a `.pem` file", path.display())]
    NotPem { path: PathBuf },
    #[error("`{}` cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        error: std::io::Error,
    },
}
