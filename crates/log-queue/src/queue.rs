use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Lines on their way to a log that may be slow, or may never be read
///
/// Adding a line takes no longer than copying it. A thread writes the lines. While 4 MiB wait,
/// further lines are dropped and counted. Clones share the queue. It is a writer for
/// `tracing_subscriber`, which writes each line at once.
#[derive(Clone, Debug)]
pub struct LogQueue {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Complete lines, in their order
    waiting: Vec<u8>,
    /// Whether the thread is writing lines that it has taken
    is_writing: bool,
    /// Until then, lines wait for room instead of being dropped
    wait_until: Option<Instant>,
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.is_writing
    }

    fn fits(&self, line: &[u8]) -> bool {
        self.waiting.len().saturating_add(line.len()) <= CAPACITY
    }
}

impl LogQueue {
    /// Starts a thread that writes lines to `log`
    ///
    /// After each gap, `report` is called on that thread with the number of lines that were
    /// dropped. It may add a line about them.
    ///
    /// # Errors
    ///
    /// If the system does not start another thread.
    pub fn start(
        log: impl Write + Send + 'static,
        report: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Self { shared: Arc::default() };
        let shared = Arc::clone(&queue.shared);
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.write(log, report))?;
        Ok(queue)
    }

    /// Starts a thread that writes lines to standard error, without the lock that the standard
    /// library keeps while it writes
    ///
    /// A reader that never reads would let another part of the process wait for that lock. If
    /// standard error is closed, lines go nowhere.
    ///
    /// # Errors
    ///
    /// If the system does not start another thread.
    pub fn of_standard_error(report: impl Fn(u64) + Send + 'static) -> io::Result<Self> {
        match io::stderr().as_fd().try_clone_to_owned() {
            Ok(owned) => Self::start(File::from(owned), report),
            Err(_) => Self::start(io::sink(), report),
        }
    }

    /// Adds a line, or drops it if the queue is full
    pub fn push(&self, line: &[u8]) {
        let mut state = self.shared.state();
        let wait_until = state.wait_until.filter(|_| !state.fits(line));
        if let Some(until) = wait_until {
            let left = until.saturating_duration_since(Instant::now());
            let waited = self.shared.changed.wait_timeout_while(state, left, |s| !s.fits(line));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if !state.fits(line) {
            // Counted under the lock: the thread reports a gap after the lines before it.
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let was_empty = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        drop(state);
        if was_empty {
            self.shared.changed.notify_all();
        }
    }

    /// Returns how many lines were dropped, or could not be written
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Lets lines wait for room for the next `timeout`, instead of dropping them
    ///
    /// For a process that stops: it answers no more requests, and its last lines may be many.
    pub fn wait_for_room(&self, timeout: Duration) {
        self.shared.state().wait_until = Instant::now().checked_add(timeout);
    }

    /// Waits until all lines are written, or `timeout` is over
    pub fn flush(&self, timeout: Duration) {
        let state = self.shared.state();
        drop(self.shared.changed.wait_timeout_while(state, timeout, |state| !state.is_idle()));
    }
}

impl Shared {
    fn write(&self, mut log: impl Write, report: impl Fn(u64)) {
        let (mut lines, mut reported) = (Vec::new(), 0);
        loop {
            let dropped = self.take(&mut lines);
            if write_all(&mut log, &lines).is_err() {
                let lost = lines.iter().filter(|byte| **byte == b'\n').count();
                self.dropped.fetch_add(u64::try_from(lost).unwrap_or(u64::MAX), Ordering::Relaxed);
            } else if dropped > reported {
                report(dropped - reported);
                reported = dropped;
            }
        }
    }

    /// Waits for lines, takes all of them, and returns how many were dropped until then
    fn take(&self, lines: &mut Vec<u8>) -> u64 {
        let mut state = self.state();
        state.is_writing = false;
        self.changed.notify_all();
        let empty = |state: &mut State| state.waiting.is_empty();
        let waited = self.changed.wait_while(state, empty);
        state = waited.unwrap_or_else(PoisonError::into_inner);
        lines.clear();
        // After a flood, its memory is given back.
        lines.shrink_to(KEPT);
        mem::swap(&mut state.waiting, lines);
        state.is_writing = true;
        // There is room again.
        self.changed.notify_all();
        self.dropped.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes everything, also to a pipe that another process has made non-blocking
fn write_all(log: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match log.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error),
        }
    }
    log.flush()
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { queue: self }
    }
}

/// Adds what is written at once to a queue: `tracing_subscriber` writes each line at once
#[derive(Debug)]
pub struct Line<'a> {
    queue: &'a LogQueue,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes that may wait; as many again may be with the thread
///
/// A second of ten thousand sign-ins is 3 MB.
const CAPACITY: usize = 4 << 20;

/// Bytes of memory that an idle queue keeps
const KEPT: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    const LINE: &[u8] = &{
        let mut line = [b'x'; 1024];
        line[1023] = b'\n';
        line
    };

    /// A log that writes one batch for each permit, as a reader does that is slow
    struct Slow {
        permits: Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Without permits in the future, the log is written freely.
            let _ = self.permits.recv();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A queue whose reader is slow, its permits, what was written, and the reported gaps
    struct Slowly {
        queue: LogQueue,
        permits: Option<SyncSender<()>>,
        written: Arc<Mutex<Vec<u8>>>,
        gaps: Receiver<u64>,
    }

    impl Slowly {
        fn start() -> Self {
            let (permits, received) = sync_channel(0);
            let written = Arc::<Mutex<Vec<u8>>>::default();
            let log = Slow { permits: received, written: Arc::clone(&written) };
            let (reported, gaps) = channel();
            let queue = LogQueue::start(log, move |gap| reported.send(gap).unwrap()).unwrap();
            Self { queue, permits: Some(permits), written, gaps }
        }

        fn read_once(&self) {
            self.permits.as_ref().unwrap().send(()).unwrap();
        }

        fn read_freely(&mut self) {
            self.permits = None;
        }

        /// Waits until the thread has taken all lines
        fn until_taken(&self) {
            while !self.queue.shared.state().waiting.is_empty() {
                thread::yield_now();
            }
        }

        /// Adds lines until no more fit, and returns how many
        fn fill(&self) -> usize {
            let fitting = CAPACITY / LINE.len();
            (0..fitting).for_each(|_| self.queue.push(LINE));
            assert_eq!(self.queue.dropped(), 0);
            fitting
        }

        fn text(&self) -> String {
            String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn lines_are_written_in_their_order() {
        let mut slow = Slowly::start();
        for number in 0..1000 {
            slow.queue.push(format!("line {number}\n").as_bytes());
        }
        slow.read_freely();
        slow.queue.flush(LONG);
        let written = slow.text();
        let expected: String = (0..1000).map(|number| format!("line {number}\n")).collect();
        assert_eq!((written, slow.queue.dropped()), (expected, 0));
    }

    #[test]
    fn lines_that_do_not_fit_are_dropped_and_reported_once() {
        let mut slow = Slowly::start();
        // The thread takes the first line and waits for its reader.
        slow.queue.push(b"first\n");
        slow.until_taken();
        let fitting = slow.fill();
        for _ in 0..7 {
            slow.queue.push(LINE);
        }
        assert_eq!(slow.queue.dropped(), 7);
        // The report comes after the lines before the gap.
        slow.read_once();
        slow.read_once();
        assert_eq!(slow.gaps.recv_timeout(LONG), Ok(7));
        assert_eq!(slow.text().lines().count(), 1 + fitting);
        // There is room again, and the gap is not reported a second time.
        slow.queue.push(b"last\n");
        slow.read_freely();
        slow.queue.flush(LONG);
        assert!(slow.gaps.try_recv().is_err());
        assert_eq!(slow.queue.dropped(), 7);
    }

    #[test]
    fn the_last_lines_of_a_process_wait_for_room() {
        let mut slow = Slowly::start();
        slow.queue.push(b"first\n");
        slow.until_taken();
        let fitting = slow.fill();
        slow.queue.wait_for_room(LONG);
        let queue = slow.queue.clone();
        let pushing = thread::spawn(move || (0..fitting).for_each(|_| queue.push(LINE)));
        slow.read_freely();
        pushing.join().unwrap();
        slow.queue.flush(LONG);
        assert_eq!(slow.text().len(), 6 + 2 * fitting * LINE.len());
        assert_eq!(slow.queue.dropped(), 0);
        // No longer than that.
        let stuck = Slowly::start();
        stuck.queue.push(b"first\n");
        stuck.until_taken();
        stuck.fill();
        stuck.queue.wait_for_room(Duration::from_millis(10));
        stuck.queue.push(LINE);
        assert_eq!(stuck.queue.dropped(), 1);
    }

    #[test]
    fn a_reader_that_never_reads_delays_an_exit_no_longer_than_the_timeout() {
        let slow = Slowly::start();
        slow.queue.push(b"line\n");
        slow.queue.flush(Duration::from_millis(10));
        assert_eq!(slow.text(), "");
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let queue = LogQueue::start(Closed, |_| {}).unwrap();
        queue.push(b"a\nb\n");
        queue.flush(LONG);
        assert_eq!(queue.dropped(), 2);
    }
}
