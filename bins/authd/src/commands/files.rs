use std::fs::File;
use std::io::{Read, Seek, stdin};
use std::path::Path;

use super::error::CommandError;

/// Opens a file, or standard input if `path` is `-`
pub(super) fn open(path: &Path) -> Result<Box<dyn Read>, CommandError> {
    match path == Path::new("-") {
        true => Ok(Box::new(stdin().lock())),
        false => Ok(Box::new(File::open(path).map_err(unreadable(path))?)),
    }
}

/// Reads a file of at most `limit` bytes, or standard input if `path` is `-`
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, CommandError> {
    let mut bytes = Vec::new();
    let mut file = open(path)?.take(limit.saturating_add(1));
    let read = file.read_to_end(&mut bytes).map_err(unreadable(path))?;
    match u64::try_from(read).is_ok_and(|read| read <= limit) {
        true => Ok(bytes),
        false => {
            let error = std::io::Error::other(format!("it is larger than {} MiB", limit >> 20));
            Err(unreadable(path)(error))
        }
    }
}

pub(super) fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> CommandError {
    |error| CommandError::File { path: path.to_owned(), error }
}

/// Opens a file that is read several times; a pipe, or standard input if `path` is `-`, is copied
pub(super) fn seekable(path: &Path) -> Result<File, CommandError> {
    let copy = |mut input: Box<dyn Read>| fleet_import::scratch(&std::env::temp_dir(), &mut input);
    let copied = || {
        let mut file = File::open(path)?;
        let is_pipe = file.stream_position().is_err();
        if is_pipe { copy(Box::new(file)) } else { Ok(file) }
    };
    let opened = if path == Path::new("-") { copy(Box::new(stdin().lock())) } else { copied() };
    opened.map_err(unreadable(path))
}
