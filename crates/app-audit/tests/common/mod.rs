use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use app_audit::{
    Act, Answer, Count, Entry, Event, Journal, Noted, Observer, RecordError, Resource, UserId,
    Window,
};
use uuid::Uuid;

/// The event, with some fields changed
pub(crate) fn with(mut event: Event, change: impl FnOnce(&mut Event)) -> Event {
    change(&mut event);
    event
}

/// A journal that takes everything, or nothing while it is locked
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) rows: Mutex<Vec<Entry>>,
    pub(crate) is_locked: AtomicBool,
}

impl Table {
    pub(crate) fn locked() -> Self {
        Self { is_locked: AtomicBool::new(true), ..Self::default() }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("locked")]
pub(crate) struct Locked;

impl Journal for Table {
    type Error = Locked;

    async fn note(&self, entries: &[Entry], _: Window) -> Result<Vec<Answer>, Locked> {
        if self.is_locked.load(Ordering::SeqCst) {
            return Err(Locked);
        }
        self.rows.lock().unwrap().extend(entries.iter().cloned());
        let began = |entry: &Entry| Answer::new(Noted::Began(entry.record.session), IDLE);
        Ok(entries.iter().map(began).collect())
    }

    async fn count(&self, _: &[Count]) -> Result<(), Locked> {
        Ok(())
    }

    async fn end_sessions(&self, _: Window, _: u32) -> Result<u64, Locked> {
        Ok(0)
    }

    async fn forget(&self, _: Duration, _: u32) -> Result<u64, Locked> {
        Ok(0)
    }

    fn is_unavailable(_: &Locked) -> bool {
        true
    }
}

/// Keeps what it is called with
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) unrecorded: Mutex<Vec<(Entry, RecordError)>>,
    pub(crate) limited: Mutex<Vec<u64>>,
}

impl Observer for Log {
    fn unrecorded(&self, entry: &Entry, error: RecordError) {
        self.unrecorded.lock().unwrap().push((entry.clone(), error));
    }

    fn act_unrecorded(&self, act: &Act, error: RecordError) {
        panic!("{act:?}: {error}");
    }

    fn limited(&self, visits: u64) {
        self.limited.lock().unwrap().push(visits);
    }

    fn failing(&self, _: &dyn std::error::Error, _: usize) {}
}

/// An allowed visit of a user from a device
pub(crate) fn visit(user: u128, device: u32) -> Event {
    with(
        Event::new(
            SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_000_000_123_456),
            Uuid::from_u128(1),
            Resource::Unknown("code".to_owned()),
            200,
        ),
        |it| {
            it.user = Some(UserId(Uuid::from_u128(user)));
            it.user_agent = device.to_be_bytes().to_vec();
        },
    )
}

/// Each session has just begun
const IDLE: Option<Duration> = Some(Duration::ZERO);
