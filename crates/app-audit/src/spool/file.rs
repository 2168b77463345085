use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::open_locked;
use crate::Entry;
use crate::recorder::Item;

/// A file to which events are added that a journal did not get, one line of JSON each
///
/// A thread of its own writes, so no caller waits for a disk. The file is created with the first
/// event, readable for its owner alone, and has at most 64 MiB. [`Spool`](super::Spool) reads it.
pub struct SpoolFile {
    shared: Arc<Shared>,
    /// To the thread, once it was started
    lines: Mutex<Option<Sender<Message>>>,
}

struct Shared {
    path: PathBuf,
    /// The size of the file as it was last seen, and of the lines that wait
    bytes: AtomicU64,
    waiting: AtomicU64,
    written: AtomicU64,
    failed: AtomicU64,
    last_error: Mutex<Option<String>>,
    /// Called with each line that could not be written
    fallback: Box<dyn Fn(&str) + Send + Sync>,
}

enum Message {
    Line(Vec<u8>),
    /// To be answered once all lines before it are written
    Flush(Sender<()>),
}

/// What a [`SpoolFile`] has done since it was made
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spooled {
    /// Events that are in the file and on the disk
    pub written: u64,
    /// Events that were accepted and could not be written
    pub failed: u64,
    /// Why the last of them could not
    pub error: Option<String>,
}

impl SpoolFile {
    /// Keeps events in the file `path`, whose folder is made if it is missing
    ///
    /// `fallback` is called with each line that was accepted and cannot be written. It is called
    /// on the thread of the file.
    #[must_use]
    pub fn new(path: PathBuf, fallback: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
        let shared = Shared {
            path,
            bytes: AtomicU64::new(bytes),
            waiting: AtomicU64::new(0),
            written: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last_error: Mutex::new(None),
            fallback: Box::new(fallback),
        };
        Self { shared: Arc::new(shared), lines: Mutex::new(None) }
    }

    /// Returns the name of the file
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Accepts an event, unless the file or what waits for it has reached its bound
    ///
    /// `is_overflow` is true for an event of a flood, for which half of the room is enough.
    #[must_use]
    pub fn keep(&self, entry: &Entry, is_overflow: bool) -> bool {
        self.keep_item(entry, is_overflow)
    }

    pub(crate) fn keep_item(&self, item: &impl Item, is_overflow: bool) -> bool {
        let Some(mut line) = item.line() else { return false };
        line.push(b'\n');
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        let part = if is_overflow { 2 } else { 1 };
        let fits = |bytes: &AtomicU64, most: u64| {
            bytes.load(Ordering::Relaxed).saturating_add(length) <= most / part
        };
        if !fits(&self.shared.bytes, MAX_BYTES) || !fits(&self.shared.waiting, MAX_WAITING) {
            return false;
        }
        let counts = [&self.shared.bytes, &self.shared.waiting];
        for count in counts {
            count.fetch_add(length, Ordering::Relaxed);
        }
        let is_sent = self.send(Message::Line(line));
        if !is_sent {
            for count in counts {
                count.fetch_sub(length, Ordering::Relaxed);
            }
        }
        is_sent
    }

    /// Waits until the events so far are on the disk, for at most `timeout`
    ///
    /// It blocks its thread. Events that were not written by then count as failed.
    #[must_use]
    pub fn flush(&self, timeout: Duration) -> Spooled {
        let (done, flushed) = channel();
        let is_started = self.lines.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let in_time =
            !is_started || self.send(Message::Flush(done)) && flushed.recv_timeout(timeout).is_ok();
        let mut spooled = self.shared.spooled();
        if !in_time {
            spooled.error.get_or_insert_with(|| "it was not written in time".to_owned());
        }
        spooled
    }

    fn send(&self, message: Message) -> bool {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_none() {
            let (sender, receiver) = channel();
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().name("audit-spool".to_owned());
            if thread.spawn(move || shared.write(&receiver)).is_ok() {
                *lines = Some(sender);
            }
        }
        lines.as_ref().is_some_and(|lines| lines.send(message).is_ok())
    }
}

impl fmt::Debug for SpoolFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpoolFile").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl Shared {
    fn spooled(&self) -> Spooled {
        Spooled {
            written: self.written.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Writes lines until the file is dropped, those that wait at the same time in one go
    fn write(&self, messages: &Receiver<Message>) {
        while let Ok(first) = messages.recv() {
            let (mut lines, mut events, mut flushes) = (Vec::new(), 0, Vec::new());
            for message in std::iter::once(first).chain(messages.try_iter()) {
                match message {
                    Message::Line(line) => {
                        lines.extend(line);
                        events += 1;
                    }
                    Message::Flush(done) => flushes.push(done),
                }
            }
            if events > 0 {
                let length = u64::try_from(lines.len()).unwrap_or(u64::MAX);
                match append(&self.path, &lines) {
                    Ok(size) => {
                        self.written.fetch_add(events, Ordering::Relaxed);
                        self.waiting.fetch_sub(length, Ordering::Relaxed);
                        // A replay may have renamed the file.
                        let waiting = self.waiting.load(Ordering::Relaxed);
                        self.bytes.store(size + waiting, Ordering::Relaxed);
                    }
                    Err(error) => {
                        self.failed.fetch_add(events, Ordering::Relaxed);
                        self.waiting.fetch_sub(length, Ordering::Relaxed);
                        self.bytes.fetch_sub(length, Ordering::Relaxed);
                        let mut last =
                            self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
                        *last = Some(error.to_string());
                        drop(last);
                        String::from_utf8_lossy(&lines).lines().for_each(&self.fallback);
                    }
                }
            }
            for done in flushes {
                // Fails if the caller no longer waits.
                let _ = done.send(());
            }
        }
    }
}

/// Adds lines to the file and returns its size, once all is on the disk
///
/// The file is opened each time: a replay renames it.
fn append(path: &Path, lines: &[u8]) -> io::Result<u64> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    let mut file = open_locked(path, &options)?;
    let before = file.metadata()?.len();
    let written = end_line(&mut file, before).and_then(|()| file.write_all(lines));
    if let Err(error) = written {
        // Half a line would make the whole file unreadable.
        file.set_len(before)?;
        return Err(error);
    }
    file.sync_all()?;
    if before == 0
        && let Some(folder) = path.parent()
    {
        // So that the name is on the disk as well. Not every file system can do that.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(file.metadata()?.len())
}

/// Ends the last line if the process was killed in the middle of it
fn end_line(file: &mut File, size: u64) -> io::Result<()> {
    let mut last = [b'\n'];
    if size > 0 {
        file.seek(SeekFrom::Start(size - 1))?;
        file.read_exact(&mut last)?;
    }
    if last == [b'\n'] { Ok(()) } else { file.write_all(b"\n") }
}

/// The most bytes of a spool file: some 80,000 events
pub(super) const MAX_BYTES: u64 = 64 << 20;

/// The most bytes that wait for the disk: more than a full queue of ordinary events
const MAX_WAITING: u64 = 24 << 20;
