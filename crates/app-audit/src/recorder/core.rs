use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::item::{Item, Sink};
use super::state::State;
use super::writer::Writer;
use super::{Drained, Observer, Receipt, RecordError, Settings, Stats};
use crate::source::Source;
use crate::{SessionKey, SpoolFile, Window};

/// The queue of a recorder and the tasks that write from it
#[derive(Debug)]
pub(super) struct Core<I: Item> {
    shared: Arc<Shared<I>>,
    writers: tokio::sync::Mutex<Vec<JoinHandle<()>>>,
}

/// An item that asks for room in the queue
pub(super) struct Offer<I> {
    pub(super) item: I,
    /// Whose share of the queue it takes
    pub(super) source: Source,
    /// By what it is limited in a minute, if it is
    pub(super) limited_by: Option<Source>,
}

impl<I: Item> Core<I> {
    pub(super) fn start<S: Sink<Item = I> + 'static>(sink: S, settings: Settings) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(&settings)),
            wake: Notify::new(),
            window: settings.window,
            observer: settings.observer,
            spool: settings.spool,
        });
        let sink = Arc::new(sink);
        let writers = (0..settings.writers.max(1)).map(|_| {
            let writer = Writer::new(Arc::clone(&sink), Arc::clone(&shared));
            tokio::spawn(writer.run())
        });
        let writers = tokio::sync::Mutex::new(writers.collect());
        Self { shared, writers }
    }

    /// Captures an item without waiting; `offer` makes it if none has the key yet
    pub(super) fn record(
        &self,
        key: SessionKey,
        offer: impl FnOnce() -> Offer<I>,
    ) -> Result<Receipt, RecordError> {
        let now = Instant::now();
        if let Some(receipt) = self.shared.state().admit(key, now) {
            return Ok(receipt);
        }
        // Made before the lock is taken again, although a visit with the same key may be
        // queued in between.
        let Offer { item, source, limited_by } = offer();
        let mut state = self.shared.state();
        if let Some(receipt) = state.admit(key, now) {
            return Ok(receipt);
        }
        if let Err(error) = state.make_room(source, limited_by, now) {
            drop(state);
            match error {
                // A writer reports these once a minute, and has to know that there are some.
                RecordError::Limited => self.shared.wake.notify_one(),
                RecordError::Full if limited_by.is_some() => self.shared.overflow(&item, now),
                error => self.shared.give_up(&item, error),
            }
            return Err(error);
        }
        let receipt = state.push(key, item, source, now);
        let wakes_writer = state.wakes_writer();
        drop(state);
        if wakes_writer {
            self.shared.wake.notify_one();
        }
        Ok(receipt)
    }

    pub(super) fn stats(&self) -> Stats {
        self.shared.state().stats(Instant::now())
    }

    pub(super) async fn drain(&self, timeout: Duration) -> Drained {
        let before = self.stats();
        self.close();
        let end = Instant::now() + timeout;
        for mut writer in std::mem::take(&mut *self.writers.lock().await) {
            if timeout_at(end, &mut writer).await.is_err() {
                writer.abort();
                let _ = writer.await;
            }
        }
        let after = self.stats();
        Drained {
            written: after.written - before.written,
            spooled: after.spooled - before.spooled,
            lost: after.lost - before.lost,
        }
    }

    fn close(&self) {
        self.shared.state().closed = true;
        self.shared.wake.notify_one();
    }
}

impl<I: Item> Drop for Core<I> {
    fn drop(&mut self) {
        self.close();
    }
}

#[derive(Debug)]
pub(super) struct Shared<I> {
    state: Mutex<State<I>>,
    /// Wakes a writer
    pub(super) wake: Notify,
    pub(super) window: Window,
    pub(super) observer: Arc<dyn Observer>,
    spool: Option<Arc<SpoolFile>>,
}

impl<I: Item> Shared<I> {
    pub(super) fn state(&self) -> MutexGuard<'_, State<I>> {
        // Nothing under this lock can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an item that the journal does not get, and counts it
    pub(super) fn give_up(&self, item: &I, error: RecordError) {
        if !self.spools(item, error) {
            self.state().stats.lost += 1;
            item.lost(error, &*self.observer);
        }
    }

    /// Keeps a visit that is anonymous or denied and for which the queue has no room
    ///
    /// If the spool has no room either, the visit is left out and counted. Strangers with many
    /// addresses could otherwise write to the observer without end.
    fn overflow(&self, item: &I, now: Instant) {
        if !self.spools(item, RecordError::Full) {
            let mut state = self.state();
            state.stats.limited += 1;
            state.limiter.leave_out(now);
            drop(state);
            // A writer reports these once a minute.
            self.wake.notify_one();
        }
    }

    /// Returns whether the spool accepts an item, and counts it
    fn spools(&self, item: &I, error: RecordError) -> bool {
        // A flood must not fill the spool, which is to take the whole queue at the end.
        let is_overflow = error == RecordError::Full;
        let is_kept = self.spool.as_ref().is_some_and(|spool| spool.keep_item(item, is_overflow));
        if is_kept {
            self.state().stats.spooled += 1;
        }
        is_kept
    }
}
