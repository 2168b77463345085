//! Visits and acts that a journal did not get, kept in a file until an operator has them replayed

mod act_line;
mod file;
pub(crate) mod line;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;
use thiserror::Error;

pub use self::file::{SpoolFile, Spooled};
use self::line::Line;
use crate::recorder::Item;
use crate::{Act, Entry};

/// The events of a spool file, read to be replayed
///
/// As long as it exists no process adds to the file, so that nothing is added after the reading.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    /// Holds the lock
    file: File,
    entries: Vec<Entry>,
    acts: Vec<Act>,
}

impl Spool {
    /// Reads a whole file, and waits for a process that writes to it
    ///
    /// An event that has stood in the file before is left out: a visit with the same
    /// [`session`](crate::Record::session), or the same act.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, is larger than a spool can be, or has a line that is not
    /// an event; nothing of the file is then to be replayed.
    pub fn read(path: &Path) -> Result<Self, SpoolError> {
        let io = |error| SpoolError::Io { path: path.to_owned(), error };
        let mut file = open_locked(path, OpenOptions::new().read(true)).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        if size > 2 * file::MAX_BYTES {
            return Err(SpoolError::TooLarge { path: path.to_owned(), bytes: size });
        }
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        file.read_to_end(&mut text).map_err(io)?;
        let (mut entries, mut acts) = (Vec::new(), Vec::new());
        let mut ids = std::collections::HashSet::new();
        let lines = text.strip_suffix(b"\n").unwrap_or(&text);
        for (number, line) in (1..).zip(lines.split(|byte| *byte == b'\n')) {
            if text.is_empty() {
                break;
            }
            let line = line::read(line).map_err(|problem| SpoolError::Line {
                path: path.to_owned(),
                number,
                problem,
            })?;
            match line {
                Line::Visit(entry) if ids.insert(entry.record.session) => entries.push(*entry),
                Line::Act(act) if ids.insert(act.fresh) => acts.push(*act),
                Line::Visit(_) | Line::Act(_) => {}
            }
        }
        Ok(Self { path: path.to_owned(), file, entries, acts })
    }

    /// Returns the events in the order of their times
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = self.entries.clone();
        entries.sort_by_key(|entry| (entry.record.time, entry.record.session));
        entries
    }

    /// Returns the acts in the order of their times
    ///
    /// Acts that share a row are all there.
    #[must_use]
    pub fn acts(&self) -> Vec<Act> {
        let mut acts = self.acts.clone();
        acts.sort_by_key(|act| (act.time, act.id()));
        acts
    }

    /// Renames the file to one that ends in `.replayed`, and returns its new name
    ///
    /// If there is such a file, a number is added.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be renamed.
    pub fn set_aside(self) -> Result<PathBuf, SpoolError> {
        let name = |suffix: &str| {
            let mut name = self.path.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        let io = |error| SpoolError::Io { path: self.path.clone(), error };
        let mut target = name(".replayed");
        for number in 2.. {
            if !target.try_exists().map_err(io)? {
                break;
            }
            target = name(&format!(".replayed.{number}"));
        }
        fs::rename(&self.path, &target).map_err(io)?;
        // Only now may others write to a file of the old name.
        drop(self.file);
        Ok(target)
    }
}

/// Returns an entry as a line of a spool file, without the line break
#[must_use]
pub fn spool_line(entry: &Entry) -> String {
    text_of(entry)
}

/// Returns an act as a line of a spool file, without the line break
#[must_use]
pub fn spool_act_line(act: &Act) -> String {
    text_of(act)
}

fn text_of(item: &impl Item) -> String {
    String::from_utf8(item.line().unwrap_or_default()).unwrap_or_default()
}

/// Opens a file and locks it, and does so again if it was renamed meanwhile
fn open_locked(path: &Path, options: &OpenOptions) -> io::Result<File> {
    loop {
        let file = options.open(path)?;
        // `File::lock` is newer than the oldest compiler of this crate.
        retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
        let opened = file.metadata()?;
        match fs::metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == (opened.dev(), opened.ino()) => {
                return Ok(file);
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
}

/// Why a spool file could not be read or set aside
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// The file cannot be read or renamed
    #[error("`{path}`: {error}", path = path.display())]
    Io {
        /// The file
        path: PathBuf,
        /// The error of the system
        error: io::Error,
    },
    /// A line is not an event
    #[error("`{path}`, line {number}: {problem}", path = path.display())]
    Line {
        /// The file
        path: PathBuf,
        /// The number of the line, from 1
        number: usize,
        /// What is wrong with the line
        problem: String,
    },
    /// The file is larger than a spool can be
    #[error("`{path}` has {bytes} bytes, more than a spool file can have", path = path.display())]
    TooLarge {
        /// The file
        path: PathBuf,
        /// Its size
        bytes: u64,
    },
}
