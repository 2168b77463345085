use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::token::SessionToken;

/// A file to write a token to
#[derive(Clone, Debug)]
pub struct TokenFile {
    path: PathBuf,
    folder: PathBuf,
}

impl TokenFile {
    /// Checks that a file can be put at `path`, before the token is waited for
    ///
    /// # Errors
    ///
    /// If the folder does not exist or is not writable, or if something other than a regular file
    /// is at `path`.
    pub fn at(path: &Path) -> io::Result<Self> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        if !folder.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        // A rename would replace a device such as `/dev/stdout` with the token.
        match path.symlink_metadata() {
            Ok(existing) if existing.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(existing) if !existing.is_file() => {
                return Err(io::Error::other("the existing file is not a regular file"));
            }
            _ => {}
        }
        let file = Self { path: path.to_owned(), folder: folder.to_owned() };
        let (_, probe) = file.create_temporary()?;
        std::fs::remove_file(probe)?;
        Ok(file)
    }

    /// Writes the token as one line, readable by this user alone (mode 0600)
    ///
    /// The file is replaced in one step: a reader finds the whole token or the earlier content,
    /// also after the machine has lost power.
    ///
    /// # Errors
    ///
    /// If the file cannot be written. An earlier file is then unchanged.
    pub fn write(&self, token: &SessionToken) -> io::Result<()> {
        let (file, temporary) = self.create_temporary()?;
        let written = self.replace(file, &temporary, token);
        if written.is_err() {
            // A token must not stay behind under a name that its readers do not know.
            let _ = std::fs::remove_file(&temporary);
        }
        written
    }

    /// Creates a file beside the token's, under a name that was free
    fn create_temporary(&self) -> io::Result<(File, PathBuf)> {
        let mut number = 0_u32;
        loop {
            let name = format!(".agent-token-{}-{number}", std::process::id());
            let path = self.folder.join(name);
            match OpenOptions::new().write(true).create_new(true).mode(MODE).open(&path) {
                Ok(file) => return Ok((file, path)),
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Err(error) if number >= MOST_NAMES => return Err(error),
                Err(_) => number += 1,
            }
        }
    }

    fn replace(&self, mut file: File, temporary: &Path, token: &SessionToken) -> io::Result<()> {
        // The umask may have removed even the owner's rights.
        file.set_permissions(Permissions::from_mode(MODE))?;
        writeln!(file, "{}", token.reveal())?;
        file.sync_all()?;
        std::fs::rename(temporary, &self.path)?;
        File::open(&self.folder)?.sync_all()
    }
}

const MODE: u32 = 0o600;

/// Earlier processes that died while they wrote leave names behind
const MOST_NAMES: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_an_earlier_process_left_is_passed_over() {
        let folder = std::env::temp_dir().join(format!("agent-token-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let left = folder.join(format!(".agent-token-{}-0", std::process::id()));
        std::fs::write(&left, "left").unwrap();

        let path = folder.join("token");
        TokenFile::at(&path).unwrap().write(&SessionToken::parse("a-token").unwrap()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a-token\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, MODE);
        assert_eq!(std::fs::read_to_string(&left).unwrap(), "left");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_path_that_cannot_be_written_is_refused_at_once() {
        let folder = std::env::temp_dir().join(format!("agent-token-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("file"), "").unwrap();
        std::os::unix::fs::symlink("file", folder.join("link")).unwrap();
        for (path, expected) in [
            (folder.join("absent/token"), io::ErrorKind::NotFound),
            (folder.join("file/token"), io::ErrorKind::NotADirectory),
            (folder.clone(), io::ErrorKind::IsADirectory),
            (folder.join("link"), io::ErrorKind::Other),
            ("/dev/null".into(), io::ErrorKind::Other),
            // Not even root can create files there.
            ("/proc/token".into(), io::ErrorKind::NotFound),
        ] {
            assert_eq!(TokenFile::at(&path).unwrap_err().kind(), expected, "{}", path.display());
        }
        TokenFile::at(&folder.join("token")).unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "nothing is left behind");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
