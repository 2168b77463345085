use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::{Observer, RecordError};
use crate::spool::line;
use crate::{Act, ActJournal, Answer, Count, Entry, Journal, Noted, SessionKey, Window};

/// What a recorder queues and writes: a visit or an act
pub(crate) trait Item: fmt::Debug + Send + Sync + 'static {
    /// Items with the same key are the same but for how often
    fn key(&self) -> SessionKey;

    fn times(&self) -> u64;

    /// An id of its own
    fn id(&self) -> Uuid;

    /// Counts one more
    fn add(&mut self);

    /// A line of a spool file, without its line break
    fn line(&self) -> Option<Vec<u8>>;

    /// Hands the item to the observer
    fn lost(&self, error: RecordError, observer: &dyn Observer);
}

/// Where a recorder writes to
pub(crate) trait Sink: Send + Sync {
    type Item: Item;
    type Error: Error + Send + Sync + 'static;

    fn note(
        &self,
        items: &[Self::Item],
        window: Window,
    ) -> impl Future<Output = Result<Vec<Answer>, Self::Error>> + Send;

    fn count(&self, counts: &[Count]) -> impl Future<Output = Result<(), Self::Error>> + Send;

    fn is_unavailable(error: &Self::Error) -> bool;
}

impl Item for Entry {
    fn key(&self) -> SessionKey {
        self.key
    }

    fn times(&self) -> u64 {
        self.visits
    }

    fn id(&self) -> Uuid {
        self.record.session
    }

    fn add(&mut self) {
        self.visits += 1;
    }

    fn line(&self) -> Option<Vec<u8>> {
        line::write(self)
    }

    fn lost(&self, error: RecordError, observer: &dyn Observer) {
        observer.unrecorded(self, error);
    }
}

/// A journal of visits
pub(super) struct Visits<J>(pub(super) Arc<J>);

impl<J: Journal> Sink for Visits<J> {
    type Item = Entry;
    type Error = J::Error;

    async fn note(&self, entries: &[Entry], window: Window) -> Result<Vec<Answer>, J::Error> {
        self.0.note(entries, window).await
    }

    async fn count(&self, counts: &[Count]) -> Result<(), J::Error> {
        self.0.count(counts).await
    }

    fn is_unavailable(error: &J::Error) -> bool {
        J::is_unavailable(error)
    }
}

impl Item for Act {
    fn key(&self) -> SessionKey {
        Self::key(self)
    }

    fn id(&self) -> Uuid {
        self.fresh
    }

    fn times(&self) -> u64 {
        self.times
    }

    fn add(&mut self) {
        self.times += 1;
    }

    fn line(&self) -> Option<Vec<u8>> {
        line::write_act(self)
    }

    fn lost(&self, error: RecordError, observer: &dyn Observer) {
        observer.act_unrecorded(self, error);
    }
}

/// A journal of acts
pub(super) struct Acts<J>(pub(super) Arc<J>);

impl<J: ActJournal> Sink for Acts<J> {
    type Item = Act;
    type Error = J::Error;

    /// An act that may be repeated within its hour is then counted for a while without a
    /// statement, as if its row were a session that has just begun
    async fn note(&self, acts: &[Act], _: Window) -> Result<Vec<Answer>, J::Error> {
        self.0.note_acts(acts).await?;
        let idle = |act: &Act| act.is_hourly().then_some(Duration::ZERO);
        Ok(acts.iter().map(|act| Answer::new(Noted::Continued(act.id()), idle(act))).collect())
    }

    async fn count(&self, counts: &[Count]) -> Result<(), J::Error> {
        let counts: Vec<_> = counts.iter().map(|count| (count.session, count.visits)).collect();
        self.0.count_acts(&counts).await
    }

    fn is_unavailable(error: &J::Error) -> bool {
        J::is_unavailable(error)
    }
}
