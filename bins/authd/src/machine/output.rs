use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::control_plane::SessionToken;

/// A file that is to have a token
#[derive(Clone, Debug)]
pub(crate) struct TokenFile {
    path: PathBuf,
    folder: PathBuf,
}

impl TokenFile {
    /// Makes sure that a file can be put there, before anything is waited for
    ///
    /// # Errors
    ///
    /// If the folder does not exist, or if something other than a file is there.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        if !folder.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        // A rename would put the token in the place of a device such as `/dev/stdout`.
        match path.symlink_metadata() {
            Ok(there) if there.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(there) if !there.is_file() => {
                return Err(io::Error::other("what is there is not a regular file"));
            }
            _ => {}
        }
        Ok(Self { path: path.to_owned(), folder: folder.to_owned() })
    }

    /// Puts the token there, readable by this user alone
    ///
    /// A reader finds the whole token or what was there before, also after the machine
    /// lost its power.
    ///
    /// # Errors
    ///
    /// If it cannot be written. What was there before then stays.
    pub(crate) fn write(&self, token: &SessionToken) -> io::Result<()> {
        let temporary = self.folder.join(format!(".authd-{}", Uuid::new_v4().simple()));
        let written = self.write_through(&temporary, token);
        if written.is_err() {
            // A token must not stay behind under a name that its readers do not know.
            let _ = std::fs::remove_file(&temporary);
        }
        written
    }

    fn write_through(&self, temporary: &Path, token: &SessionToken) -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(MODE).open(temporary)?;
        // The mask of the process may have taken even the owner's rights.
        file.set_permissions(Permissions::from_mode(MODE))?;
        writeln!(file, "{}", token.reveal())?;
        file.sync_all()?;
        std::fs::rename(temporary, &self.path)?;
        File::open(&self.folder)?.sync_all()
    }
}

const MODE: u32 = 0o600;
