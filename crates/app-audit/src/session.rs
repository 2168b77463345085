use std::time::{Duration, SystemTime};

use uuid::Uuid;

/// The span of visits with one key
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// The session's id, which every row about the session has
    pub id: Uuid,
    /// The time of the first visit
    pub started_at: SystemTime,
    /// The time of the last visit, to within [`Window::touch`]
    pub updated_at: SystemTime,
}

impl Session {
    /// Returns a stored session, for implementations of [`Journal`](crate::Journal)
    #[must_use]
    pub const fn new(id: Uuid, started_at: SystemTime, updated_at: SystemTime) -> Self {
        Self { id, started_at, updated_at }
    }

    /// Returns when the session ends, or has ended, if no visit continues it
    #[must_use]
    pub fn ended_at(&self, window: Window) -> SystemTime {
        self.updated_at.checked_add(window.stale).unwrap_or(self.updated_at)
    }

    /// Applies a visit to `last`, the stored session with the visit's key
    ///
    /// Returns the session as it is after the visit, and what the visit did to it. `fresh`
    /// is the id for a new session. `now` must come from the clock that wrote `last`:
    /// otherwise the difference between two clocks can make every visit a session.
    ///
    /// Each visit extends its session, so ten hours of continuous use are one session. A
    /// visit exactly [`Window::stale`] after the last one begins a new session.
    #[must_use]
    pub fn visit(
        last: Option<Self>,
        fresh: Uuid,
        now: SystemTime,
        window: Window,
    ) -> (Self, Visit) {
        let begun = Self { id: fresh, started_at: now, updated_at: now };
        let Some(last) = last else { return (begun, Visit::Began) };
        // After the clock was set back, the last visit can lie in the future. It then
        // counts as just made.
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
    /// The visit began the session, and its record is written
    Began,
    /// The visit continued the session, and its time is written as that of the last visit
    Extended,
    /// The visit continued the session so soon after the last one that nothing is written
    Untouched,
}

/// How long a session lasts without visits, and how exactly its end is known
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Window {
    /// How long after its last visit a session ends; zero makes every visit a session
    pub stale: Duration,
    /// How long after a written visit further visits are not written
    pub touch: Duration,
    /// Whether the end of a session is written as well, once it is noticed
    pub close: bool,
}

impl Window {
    /// Returns the same window with [`stale`](Self::stale) as given
    #[must_use]
    pub const fn stale(mut self, stale: Duration) -> Self {
        self.stale = stale;
        self
    }

    /// Returns the same window with [`touch`](Self::touch) as given
    #[must_use]
    pub const fn touch(mut self, touch: Duration) -> Self {
        self.touch = touch;
        self
    }

    /// Returns the same window with [`close`](Self::close) as given
    #[must_use]
    pub const fn close(mut self, close: bool) -> Self {
        self.close = close;
        self
    }

    /// Returns whether the end of a session is written
    ///
    /// Where each visit is a session, no ends are written, even with
    /// [`close`](Self::close).
    #[must_use]
    pub fn closes(self) -> bool {
        self.close && !self.stale.is_zero()
    }

    /// Returns how long after its last visit a session is deleted
    ///
    /// As soon as it is stale if its end is to be written. Otherwise after a day, or twice
    /// [`stale`](Self::stale) if that is longer, so that recently ended sessions can still
    /// be inspected.
    #[must_use]
    pub fn forgotten_after(self) -> Duration {
        if self.closes() { self.stale } else { (self.stale.saturating_mul(2)).max(DAY) }
    }
}

/// Sessions end after an hour without visits, known to the minute, and their ends are not
/// written
impl Default for Window {
    fn default() -> Self {
        let (stale, touch) = (Duration::from_secs(60 * 60), Duration::from_secs(60));
        Self { stale, touch, close: false }
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
