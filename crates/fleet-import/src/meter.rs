use std::io::Write;
use std::time::{Duration, Instant};

use app_audit::printable;

use super::import::Event;
use super::progress::Progress;
use super::warnings::Warning;

/// Shows warnings and progress: a bar on a terminal, or lines of a log
///
/// Failures to write are ignored: the import is right without them.
#[derive(Debug)]
pub struct Meter<W> {
    out: W,
    /// Writes a line of the log; `None` on a terminal
    log: Option<fn(&str)>,
    pace: Pace,
}

impl<W: Write> Meter<W> {
    /// Shows warnings on `out`, and progress too unless there is a log
    ///
    /// A log has a line every five seconds.
    pub fn new(out: W, log: Option<fn(&str)>) -> Self {
        let pause = if log.is_none() { Duration::from_millis(100) } else { Duration::from_secs(5) };
        Self { out, log, pace: Pace::new(pause, Instant::now()) }
    }

    /// Shows an event, if it is a warning or if progress is due
    pub fn report(&mut self, event: &Event) {
        match event {
            Event::Warning(Warning { path, text, .. }) => {
                self.end();
                let _ = writeln!(self.out, "warning: {path}: {}", printable(text));
            }
            Event::Progress(progress) if self.pace.is_due(Instant::now()) => self.show(progress),
            _ => {}
        }
    }

    fn show(&mut self, progress: &Progress) {
        match self.log {
            Some(log) => log(&progress.to_string()),
            None => {
                let _ = write!(self.out, "\r{progress:#}\x1b[K");
                let _ = self.out.flush();
            }
        }
    }

    /// Removes the bar
    pub fn end(&mut self) {
        if self.log.is_none() {
            let _ = write!(self.out, "\r\x1b[K");
        }
    }
}

/// Decides when progress is shown again
#[derive(Clone, Copy, Debug)]
struct Pace {
    pause: Duration,
    last: Instant,
}

impl Pace {
    /// Progress is shown every `pause`, for the first time that long after `start`
    const fn new(pause: Duration, start: Instant) -> Self {
        Self { pause, last: start }
    }

    /// Returns whether progress is to be shown now, and counts it as shown
    fn is_due(&mut self, now: Instant) -> bool {
        let due = now.saturating_duration_since(self.last) >= self.pause;
        if due {
            self.last = now;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_a_bar_and_warnings_have_lines() {
        let warning = Event::Warning(Warning { path: "p".to_owned(), text: "a\tb".to_owned() });
        let mut meter = Meter::new(Vec::new(), None);
        meter.show(&Progress::reading(1, 2, 3));
        meter.report(&warning);
        let shown = String::from_utf8(meter.out).unwrap();
        let bar = Progress::reading(1, 2, 3);
        assert_eq!(shown, format!("\r{bar:#}\x1b[K\r\x1b[Kwarning: p: a\u{fffd}b\n"));

        let mut meter = Meter::new(Vec::new(), Some(|line| assert!(line.starts_with("comparing"))));
        meter.show(&Progress::comparing(1, 2));
        meter.report(&warning);
        meter.end();
        assert_eq!(String::from_utf8(meter.out).unwrap(), "warning: p: a\u{fffd}b\n");
    }

    #[test]
    fn progress_is_shown_at_most_once_a_pause() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::from_secs(5), start);
        let due: Vec<u64> =
            (0..20).filter(|second| pace.is_due(start + Duration::from_secs(*second))).collect();
        assert_eq!(due, [5, 10, 15]);
    }
}
