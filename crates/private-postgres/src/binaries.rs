use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::{Error, Settings};

/// The programs of an installed server
#[derive(Debug)]
pub(crate) struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// Finds a server of the major version `wanted`, or of any version
    pub(crate) fn find(settings: &Settings, wanted: Option<&str>) -> Result<Self, Error> {
        let folders = match &settings.binaries {
            Some(folder) => vec![folder.clone()],
            None => installed(),
        };
        folders
            .into_iter()
            .find_map(|folder| {
                let found = Self { folder };
                let version = found.major_version()?;
                wanted.is_none_or(|wanted| wanted == version).then_some(found)
            })
            .ok_or_else(|| Error::NotInstalled { explicit: settings.binaries.clone() })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn initdb(&self) -> PathBuf {
        self.folder.join("initdb")
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    /// The major version, if both programs exist and `initdb` runs
    ///
    /// That a file exists is not enough: it may be a wrapper or a link of a package that has
    /// been removed.
    fn major_version(&self) -> Option<String> {
        if !self.postgres().is_file() {
            return None;
        }
        let output =
            Command::new(self.initdb()).arg("--version").env("LC_ALL", "C").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        // initdb (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
        let version = text.split_ascii_whitespace().nth(2)?;
        let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
        (output.status.success() && digits > 0).then(|| version[..digits].to_owned())
    }
}

/// Every folder that may hold a server: those of `PATH`, then Debian's, the newest first
///
/// Debian does not put the server into `PATH`.
fn installed() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path)
        // `postgres` need not be linked beside a link to `initdb`.
        .filter_map(|folder| fs::canonicalize(folder.join("initdb")).ok()?.parent().map(Into::into))
        .collect();

    let mut debian: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join(OsStr::new("bin"))))
        })
        .collect();
    debian.sort_unstable_by(|a, b| b.cmp(a));
    folders.extend(debian.into_iter().map(|(_, folder)| folder));
    folders
}

const DEBIAN: &str = "/usr/lib/postgresql";
