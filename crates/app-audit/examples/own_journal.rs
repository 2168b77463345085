//! A journal of one's own, in memory, and a recorder that writes to it
//!
//! With the rows at hand, `Filter::select` makes an `AuditLog` of it in a line:
//! `tests/conformance/visits.rs` does so, and checks the rules of both ports.
//!
//! ```console
//! $ cargo run -p app-audit --example own_journal
//! ```

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a host reads the clock, and this one prints its log"
)]

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use app_audit::{
    Answer, Count, Entry, Event, Groups, Journal, Kept, Recorder, Resource, Row, SessionKey,
    Settings, Window,
};
use tokio::sync::Mutex;
use uuid::Uuid;

#[derive(Debug, Default)]
pub(crate) struct OwnJournal(pub(crate) Mutex<Tables>);

#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) sessions: HashMap<SessionKey, Kept>,
    pub(crate) log: HashMap<Uuid, Row>,
}

impl Journal for OwnJournal {
    type Error = Infallible;

    async fn note(&self, entries: &[Entry], window: Window) -> Result<Vec<Answer>, Infallible> {
        let (mut tables, now) = (self.0.lock().await, SystemTime::now());
        let groups = Groups::of(entries, window);
        let changes = groups.apply(now, |key| tables.sessions.get(key).copied());
        for row in changes.rows(|id| tables.log.get(&id)) {
            tables.log.entry(row.id).or_insert(row);
        }
        tables.sessions.extend(changes.sessions);
        Ok(changes.answers)
    }

    async fn count(&self, counts: &[Count]) -> Result<(), Infallible> {
        let mut tables = self.0.lock().await;
        for count in counts {
            tables.sessions.entry(count.key).and_modify(|kept| kept.count(count));
        }
        Ok(())
    }

    async fn end_sessions(&self, window: Window, at_most: u32) -> Result<u64, Infallible> {
        let (mut tables, now) = (self.0.lock().await, SystemTime::now());
        let is_over = |_: &SessionKey, kept: &mut Kept| kept.is_forgotten(now, window);
        let ended = tables.sessions.extract_if(is_over).map(|(_, kept)| kept);
        let ended: Vec<Kept> = ended.take(usize::try_from(at_most).unwrap_or(usize::MAX)).collect();
        for kept in &ended {
            let row = kept.closing(window, tables.log.get(&kept.session.id));
            tables.log.extend(row.map(|row| (row.id, row)));
        }
        Ok(u64::try_from(ended.len()).unwrap_or(u64::MAX))
    }

    async fn forget(&self, keep: Duration, at_most: u32) -> Result<u64, Infallible> {
        let (mut tables, now) = (self.0.lock().await, SystemTime::now());
        let is_old = |_: &Uuid, row: &mut Row| row.is_older_than(keep, now);
        Ok((0..at_most).zip(tables.log.extract_if(is_old)).map(|_| 1).sum())
    }

    fn is_unavailable(_: &Infallible) -> bool {
        false
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let journal = Arc::new(OwnJournal::default());
    visit_twice(&journal).await;
    println!("{:#?}", journal.0.lock().await.log);
}

/// Records two visits of one visitor, which are one session
pub(crate) async fn visit_twice(journal: &Arc<OwnJournal>) {
    let recorder = Recorder::start(Arc::clone(journal), Settings::default());
    for _ in 0..2 {
        let visit = Event::new(SystemTime::now(), Uuid::new_v4(), Resource::Terminal, 200);
        // Dropping the receipt lets the visitor go on at once.
        let _ = recorder.record(visit.client(Some([192, 0, 2, 1].into()), b"curl/8"));
    }
    recorder.drain(Duration::from_secs(10)).await;
}
