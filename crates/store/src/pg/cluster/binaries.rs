use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use super::{Error, Settings};

/// The folder of an installed server that answers
#[derive(Debug)]
pub(super) struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// Finds a server of the major version `wanted`, or of any
    pub(super) fn find(settings: &Settings, wanted: Option<&str>) -> Result<Self, Error> {
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

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.folder.join("initdb")
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    /// The major version, if both programs are there and run
    ///
    /// `initdb` is asked rather than only looked for: what `PATH` holds may be a
    /// wrapper, or a link to a package that is gone.
    fn major_version(&self) -> Option<String> {
        if !self.postgres().is_file() {
            return None;
        }
        let asked =
            Command::new(self.initdb()).arg("--version").env("LC_ALL", "C").output().ok()?;
        let said = String::from_utf8(asked.stdout).ok()?;
        // initdb (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
        let version = said.split_ascii_whitespace().nth(2)?;
        let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
        (asked.status.success() && digits > 0).then(|| version[..digits].to_owned())
    }
}

/// Every folder that may hold a server: those of `PATH`, then Debian's, which
/// leaves the server out of `PATH`, the newest first
fn installed() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path)
        // A link is followed, as its neighbour need not be linked as well.
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
