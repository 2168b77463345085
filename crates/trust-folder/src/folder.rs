use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use identity_fetch::Identity;
use identity_verify::{Policy, aws, azure, google};
use thiserror::Error;

/// The keys and certificates to trust: what the clouds publish, and what an operator adds
#[derive(Clone, Debug)]
pub struct Trust {
    aws: aws::Keys,
    azure: azure::Trust,
    /// A key set that replaces the one that Google serves, for sites that cannot fetch it
    google: Option<google::Jwks>,
    /// The files of the folder that may have no effect
    files: Vec<(PathBuf, Use)>,
}

/// What a file of the trust folder contributes
#[derive(Clone, Debug)]
enum Use {
    /// Files with this path are not read
    Unread,
    /// All its keys or certificates are already trusted
    Known,
    /// Its name does not have the form of a region
    NoRegion,
    /// None of its certificates is an authority, so none can be an issuer
    NoAuthority,
    /// Its authorities are roots, which are of no use among intermediates
    Roots,
    /// Its last certificate expires then
    Until(SystemTime),
}

impl Trust {
    /// The keys of AWS's regions
    #[must_use]
    pub const fn aws(&self) -> &aws::Keys {
        &self.aws
    }

    /// Azure's roots and issuers
    #[must_use]
    pub const fn azure(&self) -> &azure::Trust {
        &self.azure
    }

    /// The key set that replaces the one that Google serves, if the folder has one
    #[must_use]
    pub const fn google(&self) -> Option<&google::Jwks> {
        self.google.as_ref()
    }

    /// Reads an operator's folder and adds it to the built-in trust
    ///
    /// `aws/REGION.pem` has certificates or public keys of that region, `azure/roots/*.pem` and
    /// `azure/intermediates/*.pem` have certificates, and `google/jwks.json` is a key set. Any
    /// other file in the folders of PEM files is an error, because a key that is silently not
    /// trusted is hard to find. Files in other places are reported by
    /// `idle_files`. Names that begin with two dots are skipped: a mounted
    /// Kubernetes volume has such files of its own.
    ///
    /// # Errors
    ///
    /// If the folder or a file cannot be read, or a file has nothing to trust.
    pub fn read(folder: Option<&Path>) -> Result<Self, TrustError> {
        let mut trust = Self {
            aws: aws::Keys::builtin(),
            azure: azure::Trust::builtin(),
            google: None,
            files: Vec::new(),
        };
        let Some(folder) = folder else { return Ok(trust) };
        // The folder itself has to exist, and the folder of a cloud does not.
        trust.find_unread(folder, &["aws", "azure", "google"])?;
        for (cloud, read) in
            [("azure", &["roots", "intermediates"][..]), ("google", &["jwks.json"])]
        {
            let folder = folder.join(cloud);
            if folder.exists() {
                trust.find_unread(&folder, read)?;
            }
        }
        for path in trust.pem_files(&folder.join("aws"))? {
            trust.add_region(path)?;
        }
        for path in trust.pem_files(&folder.join("azure/roots"))? {
            trust.add_root(path)?;
        }
        for path in trust.pem_files(&folder.join("azure/intermediates"))? {
            trust.add_intermediate(path)?;
        }
        let path = folder.join("google/jwks.json");
        if path.exists() {
            let keys = google::Jwks::parse(&read(&path)?).map_err(malformed(&path))?;
            trust.google = Some(keys);
        }
        Ok(trust)
    }

    /// Returns what verifies proofs with these keys and certificates, and fetches nothing
    #[must_use]
    pub fn into_identity(self, policy: &Policy) -> Identity {
        let identity = Identity::with_policy(policy)
            .aws(aws::Verifier::new(self.aws, policy.clone()))
            .azure(azure::Verifier::new(self.azure, policy.clone()));
        match self.google {
            Some(keys) => identity.google_keys(keys),
            None => identity,
        }
    }

    /// Returns the files and folders that have no effect at `now`, each with the reason
    pub fn idle_files(&self, now: SystemTime) -> impl Iterator<Item = IdleFile<'_>> {
        self.files.iter().filter_map(move |(path, usage)| {
            let why = match usage {
                Use::Unread => {
                    "is not read: keys lie in `aws/REGION.pem`, `azure/roots/*.pem`, \
                     `azure/intermediates/*.pem` and `google/jwks.json`"
                }
                Use::Known => "adds nothing: everything in it is already trusted",
                Use::NoRegion => "adds nothing: no region has a name of this form",
                Use::Roots => {
                    "adds nothing: roots are only trusted in `azure/roots`; put a root there once \
                     you have verified it"
                }
                Use::NoAuthority => "adds nothing: its certificates are not authorities",
                Use::Until(end) if *end < now => "adds nothing: its certificates have expired",
                Use::Until(_) => return None,
            };
            Some(IdleFile { path, why })
        })
    }

    fn add_region(&mut self, path: PathBuf) -> Result<(), TrustError> {
        let region = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let count = |keys: &aws::Keys| keys.iter().map(|key| key.regions().len()).sum::<usize>();
        let before = count(&self.aws);
        self.aws.add_pem(region, &read(&path)?).map_err(malformed(&path))?;
        if !aws::is_region_name(region) {
            self.files.push((path, Use::NoRegion));
        } else if count(&self.aws) == before {
            self.files.push((path, Use::Known));
        }
        Ok(())
    }

    fn add_root(&mut self, path: PathBuf) -> Result<(), TrustError> {
        let pem = read(&path)?;
        let mut added = azure::Trust::none();
        added.add_root_pem(&pem).map_err(malformed(&path))?;
        let known: BTreeSet<_> = self.azure.roots().map(|root| root.fingerprint()).collect();
        self.azure.add_root_pem(&pem).map_err(malformed(&path))?;
        let is_known = added.roots().all(|root| known.contains(&root.fingerprint()));
        let last_end = added.roots().map(|root| root.not_after()).max();
        self.files.extend(if is_known {
            Some((path, Use::Known))
        } else {
            last_end.map(|end| (path, Use::Until(end)))
        });
        Ok(())
    }

    fn add_intermediate(&mut self, path: PathBuf) -> Result<(), TrustError> {
        let pem = read(&path)?;
        let mut added = azure::Trust::none();
        added.add_intermediate_pem(&pem).map_err(malformed(&path))?;
        let known: BTreeSet<_> =
            self.azure.intermediates().map(|issuer| issuer.fingerprint()).collect();
        self.azure.add_intermediate_pem(&pem).map_err(malformed(&path))?;
        let is_known = added.intermediates().all(|issuer| known.contains(&issuer.fingerprint()));
        let authorities = || added.intermediates().filter(|issuer| issuer.is_authority());
        let issuers = authorities().filter(|issuer| !issuer.is_self_issued());
        let usage = match issuers.map(|issuer| issuer.not_after()).max() {
            _ if is_known => Use::Known,
            Some(end) => Use::Until(end),
            None if authorities().count() > 0 => Use::Roots,
            None => Use::NoAuthority,
        };
        self.files.push((path, usage));
        Ok(())
    }

    /// Records the files in `folder` that do not have one of the names that are read
    fn find_unread(&mut self, folder: &Path, read: &[&str]) -> Result<(), TrustError> {
        for path in list(folder)? {
            let name = path.file_name().unwrap_or_default();
            if !read.iter().any(|known| name == *known) && !is_of_kubernetes(&path) {
                self.files.push((path, Use::Unread));
            }
        }
        Ok(())
    }

    /// Returns the files of a folder, which must all be PEM files; none if it does not exist
    fn pem_files(&mut self, folder: &Path) -> Result<Vec<PathBuf>, TrustError> {
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut files = list(folder)?;
        files.retain(|path| !is_of_kubernetes(path));
        let (hidden, files): (Vec<_>, Vec<_>) = files.into_iter().partition(|path| is_hidden(path));
        self.files.extend(hidden.into_iter().map(|path| (path, Use::Unread)));
        match files.iter().find(|path| path.extension().is_none_or(|end| end != "pem")) {
            Some(path) => Err(TrustError::NotPem { path: path.clone() }),
            None => Ok(files),
        }
    }
}

/// A file of the trust folder that has no effect; `Display` says why
#[derive(Clone, Copy, Debug)]
pub struct IdleFile<'a> {
    path: &'a Path,
    why: &'static str,
}

impl fmt::Display for IdleFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` in the trust folder {}", self.path.display(), self.why)
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// The folders and links of a mounted volume, such as `..data`
fn is_of_kubernetes(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."))
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, TrustError> {
    let entries = std::fs::read_dir(folder).map_err(unreadable(folder))?;
    let paths: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(unreadable(folder))?;
    // Sorted by name, so that all replicas read them in the same order.
    paths.sort_unstable();
    Ok(paths)
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
#[non_exhaustive]
pub enum TrustError {
    /// A file does not have the keys or certificates that its name promises
    #[error("`{}` has nothing to trust", path.display())]
    Malformed {
        /// The file
        path: PathBuf,
        /// What is wrong with it
        #[source]
        error: identity_verify::Error,
    },
    /// A folder of PEM files has another file
    #[error("`{}` in the trust folder is not a `.pem` file", path.display())]
    NotPem {
        /// The file
        path: PathBuf,
    },
    /// The folder or a file cannot be read
    #[error("`{}` cannot be read", path.display())]
    Unreadable {
        /// The folder or file
        path: PathBuf,
        /// Why it cannot be read
        #[source]
        error: std::io::Error,
    },
}
