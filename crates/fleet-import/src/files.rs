//! Files of documents, which may contain secrets

use std::fs::{File, OpenOptions, remove_file, rename};
use std::io::{self, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// Creates a file without a name in a folder, with what is read from `input`
///
/// Nothing of it is left when it is closed.
///
/// # Errors
///
/// Fails if the file cannot be created or written, or if the input cannot be read.
pub fn scratch(folder: &Path, input: &mut impl Read) -> io::Result<File> {
    let path = folder.join(format!("authd-{}", Uuid::new_v4()));
    let mut file = private(&path)?;
    remove_file(&path)?;
    io::copy(input, &mut file)?;
    file.rewind()?;
    Ok(file)
}

/// A file that only this user can read, and that takes the place of another when it is complete
///
/// It is removed if it is dropped before.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    path: PathBuf,
    place: PathBuf,
    is_complete: bool,
}

impl NewFile {
    /// Creates a file in the folder of `place`
    ///
    /// # Errors
    ///
    /// Fails if `place` has no file name, or if the file cannot be created.
    pub fn beside(place: &Path) -> io::Result<Self> {
        let name = place.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_string_lossy();
        let path = place.with_file_name(format!(".{name}.{}", Uuid::new_v4()));
        Ok(Self { file: private(&path)?, path, place: place.to_owned(), is_complete: false })
    }

    /// Gives the complete file the name of `place`
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written to the disk or renamed. Then it is removed.
    pub fn put_in_place(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        rename(&self.path, &self.place)?;
        self.is_complete = true;
        Ok(())
    }
}

impl AsRef<File> for NewFile {
    fn as_ref(&self) -> &File {
        &self.file
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_complete {
            // It may be gone already.
            let _ = remove_file(&self.path);
        }
    }
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_file_is_private_and_appears_when_it_is_complete() {
        let folder = std::env::temp_dir().join(format!("authd-{}", Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let place = folder.join("fleet.json");
        let names = || std::fs::read_dir(&folder).unwrap().count();

        drop(NewFile::beside(&place).unwrap());
        assert_eq!(names(), 0, "an incomplete file is removed");
        let file = NewFile::beside(&place).unwrap();
        file.as_ref().write_all(b"{}").unwrap();
        assert!(!place.exists());
        file.put_in_place().unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"{}");
        assert_eq!(place.metadata().unwrap().permissions().mode() & 0o777, 0o600);

        let mut text = String::new();
        let mut copy = scratch(&folder, &mut &b"text"[..]).unwrap();
        copy.read_to_string(&mut text).unwrap();
        assert_eq!((&*text, names()), ("text", 1));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
