use std::time::{Duration, SystemTime};

use uuid::Uuid;

/// The span of visits with one key
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id, in every row that speaks of it
    pub id: Uuid,
    /// Its first visit
    pub started_at: SystemTime,
    /// Its last visit, give or take [`Window::touch`]
    pub updated_at: SystemTime,
}

impl Session {
    /// What becomes of the session with a visit's key, `fresh` being an id for a new one
    ///
    /// `now` must come from the clock that wrote `last`, or a skewed clock makes every
    /// visit a session. Each visit extends its session, so ten hours of use are one. A
    /// visit exactly [`Window::stale`] after the last begins a new session.
    #[must_use]
    pub fn visit(
        last: Option<Self>,
        fresh: Uuid,
        now: SystemTime,
        window: Window,
    ) -> (Self, Visit) {
        let begun = Self { id: fresh, started_at: now, updated_at: now };
        let Some(last) = last else { return (begun, Visit::Began) };
        // A clock set back has seen the future: that is no time at all since.
        let idle = now.duration_since(last.updated_at).unwrap_or_default();
        if idle >= window.stale {
            (begun, Visit::Began)
        } else if idle <= window.touch.min(window.stale) {
            (last, Visit::Untouched)
        } else {
            (Self { updated_at: now, ..last }, Visit::Extended)
        }
    }
}

/// What a visit did to its session
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// It is the first: a record is written
    Began,
    /// It came late enough for the time of the last visit to be written
    Extended,
    /// It came so soon after the last that nothing is written
    Untouched,
}

/// How long a session lasts without visits, and how exactly its end is known
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Window {
    /// Without a visit for so long a session is over; zero makes every visit a session
    pub stale: Duration,
    /// A visit so soon after the last is not written
    pub touch: Duration,
    /// Whether the end of a session is written down as well, when it is noticed
    pub close: bool,
}

impl Window {
    /// The same window, with [`stale`](Self::stale) as given
    #[must_use]
    pub const fn stale(mut self, stale: Duration) -> Self {
        self.stale = stale;
        self
    }

    /// The same window, with [`touch`](Self::touch) as given
    #[must_use]
    pub const fn touch(mut self, touch: Duration) -> Self {
        self.touch = touch;
        self
    }

    /// The same window, with [`close`](Self::close) as given
    #[must_use]
    pub const fn close(mut self, close: bool) -> Self {
        self.close = close;
        self
    }

    /// Whether a session has an end to be written: where each visit is a session, none
    /// has
    #[must_use]
    pub fn closes(self) -> bool {
        self.close && !self.stale.is_zero()
    }

    /// Without a visit for how long a session is no longer kept
    ///
    /// That is when it is stale if its end is to be written. Otherwise a session is kept
    /// for a day or twice as long as needed, for whoever looks what has been.
    #[must_use]
    pub fn forgotten_after(self) -> Duration {
        if self.closes() { self.stale } else { (self.stale.saturating_mul(2)).max(DAY) }
    }
}

/// An hour, known to the minute, and its end is not written
impl Default for Window {
    fn default() -> Self {
        let (stale, touch) = (Duration::from_secs(60 * 60), Duration::from_secs(60));
        Self { stale, touch, close: false }
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
