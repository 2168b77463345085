//! Journals and logs of visits

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use app_audit::conformance::{
    AuditExplorerRule, AuditLogRule, JournalRule, World, audit_explorer, audit_log, journal,
};
use app_audit::{
    Answer, App, AuditExplorer, AuditLog, Count, DynAuditExplorer, DynAuditLog, DynJournal, End,
    Entry, ErasedError, Filter, Found, Journal, Listed, Names, Noted, Page, Plot, Row, SessionKey,
    UserId, Window,
};
use tokio::task::yield_now;
use uuid::Uuid;

use crate::example::{OwnJournal, visit_twice};
use crate::{assert_broken, page_by_offset};

/// The journal of the example, with at most one mistake
#[derive(Debug, Default)]
struct Store {
    inner: OwnJournal,
    mistake: Option<Mistake>,
    seen: Mutex<HashSet<Uuid>>,
    keys: Mutex<HashSet<SessionKey>>,
    listed: Mutex<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    Lost,
    Reversed,
    AlwaysBegins,
    AlwaysContinues,
    OtherIds,
    CountsAgain,
    WritesAgain,
    Race,
    OneByOne,
    StaleLate,
    StaleEarly,
    NotExtended,
    IdleZero,
    TimeOfVisit,
    OneVisitEach,
    NoCounts,
    CountsForKey,
    NotClosed,
    NotClosedByNext,
    ClosedAlways,
    ClosedWrong,
    DeletedAtOnce,
    Unbounded,
    ForgetsAll,
    NotWritten,
    OldestFirst,
    ByTime,
    ByOffset,
    NoLimit,
    AnyCase,
    NoReasons,
    LaterTime,
    WithEnds,
    NoEnds,
    Doubled,
    ShortSteps,
}

use Mistake as M;

const JOURNAL: &[(Mistake, &[JournalRule])] = &[
    (M::Lost, &[JournalRule::Order, JournalRule::EachVisit]),
    (M::Reversed, &[JournalRule::Order]),
    (M::AlwaysBegins, &[JournalRule::FirstVisit, JournalRule::Sequence]),
    (M::AlwaysContinues, &[JournalRule::EachVisit]),
    (M::OtherIds, &[JournalRule::FirstVisit, JournalRule::Again, JournalRule::AgainLate]),
    (M::CountsAgain, &[JournalRule::Again]),
    (M::WritesAgain, &[JournalRule::Again, JournalRule::AgainLate]),
    (M::Race, &[JournalRule::Concurrent]),
    (M::OneByOne, &[JournalRule::AllOrNone]),
    (M::StaleLate, &[JournalRule::Stale]),
    (M::StaleEarly, &[JournalRule::Stale, JournalRule::Sequence]),
    (M::NotExtended, &[JournalRule::Stale, JournalRule::Sequence]),
    (M::IdleZero, &[JournalRule::Idle]),
    (M::TimeOfVisit, &[JournalRule::OwnClock]),
    (M::OneVisitEach, &[JournalRule::Counted]),
    (M::NoCounts, &[JournalRule::Counted]),
    (M::CountsForKey, &[JournalRule::CountedElsewhere]),
    (M::NotClosed, &[JournalRule::Closed]),
    (M::NotClosedByNext, &[JournalRule::ClosedByNext]),
    (M::ClosedAlways, &[JournalRule::NotClosed, JournalRule::Deleted]),
    (M::ClosedWrong, &[JournalRule::Closed, JournalRule::ClosedByNext]),
    (M::DeletedAtOnce, &[JournalRule::Deleted]),
    (M::Unbounded, &[JournalRule::DeletedInPart, JournalRule::Forgotten]),
    (M::ForgetsAll, &[JournalRule::Forgotten]),
    (M::NotWritten, &[JournalRule::FirstVisit, JournalRule::EachVisit, JournalRule::Order]),
];

const LOG: &[(Mistake, &[AuditLogRule])] = &[
    (M::OldestFirst, &[AuditLogRule::NewestFirst, AuditLogRule::AsWritten]),
    (M::ByTime, &[AuditLogRule::Pages]),
    (M::ByOffset, &[AuditLogRule::WrittenMeanwhile]),
    (M::NoLimit, &[AuditLogRule::Pages]),
    (M::AnyCase, &[AuditLogRule::Filters]),
    (M::NoReasons, &[AuditLogRule::Filters]),
    (M::LaterTime, &[AuditLogRule::AsWritten]),
];

const EXPLORER: &[(Mistake, &[AuditExplorerRule])] = &[
    (M::WithEnds, &[AuditExplorerRule::Pages, AuditExplorerRule::WithItsEnd]),
    (M::NoEnds, &[AuditExplorerRule::WithItsEnd]),
    (M::Doubled, &[AuditExplorerRule::Steps, AuditExplorerRule::Length]),
    (M::ShortSteps, &[AuditExplorerRule::Length]),
];

impl Store {
    fn has(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// Changes what was kept before or after a call
    async fn change_kept(&self, entries: &[Entry], change: impl Fn(&Entry, &mut app_audit::Kept)) {
        let mut tables = self.inner.0.lock().await;
        for entry in entries {
            tables.sessions.entry(entry.key).and_modify(|kept| change(entry, kept));
        }
    }
}

impl Journal for Store {
    type Error = Infallible;

    async fn note(&self, entries: &[Entry], mut window: Window) -> Result<Vec<Answer>, Infallible> {
        let mut entries = entries.to_vec();
        match self.mistake {
            Some(M::AlwaysBegins) => window.stale = Duration::ZERO,
            Some(M::AlwaysContinues) => window.stale = window.stale.max(Duration::from_secs(9)),
            Some(M::StaleLate) => window.stale += Duration::from_secs(5),
            Some(M::StaleEarly) => window.stale = window.stale.mul_f64(0.9),
            Some(M::NotExtended) => window.touch = window.stale,
            Some(M::NotClosedByNext) => window.close = false,
            Some(M::ClosedAlways) => window.close = true,
            _ => {}
        }
        for entry in &mut entries {
            if self.has(M::OtherIds) {
                entry.record.session = Uuid::new_v4();
            }
            if self.has(M::OneVisitEach) {
                entry.visits = 1;
            }
        }
        if self.has(M::Race) {
            let is_new: Vec<bool> = {
                let keys = self.keys.lock().unwrap();
                entries.iter().map(|entry| !keys.contains(&entry.key)).collect()
            };
            yield_now().await;
            let mut tables = self.inner.0.lock().await;
            for (entry, is_new) in entries.iter().zip(is_new) {
                self.keys.lock().unwrap().insert(entry.key);
                if is_new {
                    tables.sessions.remove(&entry.key);
                }
            }
        }
        let mut answers = if self.has(M::OneByOne) {
            let mut answers = Vec::new();
            for entry in &entries {
                answers.extend(self.inner.note(std::slice::from_ref(entry), window).await?);
                yield_now().await;
            }
            answers
        } else {
            self.inner.note(&entries, window).await?
        };
        for (entry, answer) in entries.iter().zip(&mut answers) {
            let is_new = self.seen.lock().unwrap().insert(entry.record.session);
            if self.has(M::CountsAgain) && !is_new {
                self.count(&[Count::new(entry.key, answer.noted.session(), 1)]).await?;
            }
            let mut tables = self.inner.0.lock().await;
            if self.has(M::WritesAgain) && !is_new {
                let mut row = Row::from(&entry.record);
                row.id = Uuid::new_v4();
                tables.log.insert(row.id, row);
            }
            if self.has(M::NotWritten) {
                tables.log.remove(&entry.record.session);
            }
            if self.has(M::IdleZero) {
                answer.idle = Some(Duration::ZERO);
            }
        }
        if self.has(M::TimeOfVisit) {
            self.change_kept(&entries, |of, kept| kept.session.updated_at = of.record.time).await;
        }
        if self.has(M::ClosedWrong) {
            let mut tables = self.inner.0.lock().await;
            for row in tables.log.values_mut().filter(|row| row.action == "close") {
                row.additional_fields["visits"] = 1.into();
            }
        }
        match self.mistake {
            Some(M::Lost) => drop(answers.pop()),
            Some(M::Reversed) => answers.reverse(),
            _ => {}
        }
        Ok(answers)
    }

    async fn count(&self, counts: &[Count]) -> Result<(), Infallible> {
        match self.mistake {
            Some(M::NoCounts) => Ok(()),
            Some(M::CountsForKey) => {
                let mut tables = self.inner.0.lock().await;
                for count in counts {
                    let add = |kept: &mut app_audit::Kept| kept.visits += count.visits;
                    tables.sessions.entry(count.key).and_modify(add);
                }
                Ok(())
            }
            _ => self.inner.count(counts).await,
        }
    }

    async fn end_sessions(&self, window: Window, at_most: u32) -> Result<u64, Infallible> {
        let (window, at_most) = match self.mistake {
            Some(M::NotClosed) => (window.close(false), at_most),
            Some(M::ClosedAlways) => (window.close(true), at_most),
            Some(M::DeletedAtOnce) => (window.stale(window.stale / 2).close(true), at_most),
            Some(M::Unbounded) => (window, u32::MAX),
            _ => (window, at_most),
        };
        let ended = self.inner.end_sessions(window, at_most).await?;
        if self.has(M::ClosedWrong) {
            let mut tables = self.inner.0.lock().await;
            for row in tables.log.values_mut().filter(|row| row.action == "close") {
                row.user_agent = None;
            }
        }
        Ok(ended)
    }

    async fn forget(&self, keep: Duration, at_most: u32) -> Result<u64, Infallible> {
        match self.mistake {
            Some(M::Unbounded) => self.inner.forget(keep, u32::MAX).await,
            Some(M::ForgetsAll) => self.inner.forget(Duration::ZERO, at_most).await,
            _ => self.inner.forget(keep, at_most).await,
        }
    }

    fn is_unavailable(_: &Infallible) -> bool {
        true
    }
}

impl AuditLog for Store {
    type Error = Infallible;

    async fn list(&self, filter: &Filter, page: Page) -> Result<Vec<Row>, Infallible> {
        let tables = self.inner.0.lock().await;
        let mut all: Vec<Row> = tables.log.values().cloned().collect();
        let mut filter = filter.clone();
        match self.mistake {
            Some(M::AnyCase) => {
                if let Some(App::Slug(slug)) = &mut filter.app {
                    slug.make_ascii_lowercase();
                }
            }
            Some(M::NoReasons) => filter.reason = None,
            Some(M::LaterTime) => {
                all.iter_mut().for_each(|row| row.time += Duration::from_micros(1));
            }
            Some(M::ByTime) => {
                let before = page.cursor().map(|cursor| cursor.time());
                all.retain(|row| before.is_none_or(|before| row.time < before));
            }
            _ => {}
        }
        let mut rows = match self.mistake {
            Some(M::NoLimit) => filter.select(&all, Page::first(Page::MAX)),
            Some(M::ByOffset) => {
                let all = filter.select(&all, Page::first(Page::MAX));
                page_by_offset(all, page, &self.listed)
            }
            _ => filter.select(&all, page),
        };
        if self.has(M::OldestFirst) {
            rows.reverse();
        }
        Ok(rows)
    }
}

impl AuditExplorer for Store {
    async fn explore(&self, filter: &Filter, page: Page) -> Result<Vec<Listed>, Infallible> {
        let tables = self.inner.0.lock().await;
        let is_listed = |row: &&Row| row.action == "open" || self.has(M::WithEnds);
        let rows = filter.select(tables.log.values().filter(is_listed), page);
        let sessions = rows.into_iter().map(|row| {
            let is_end = |other: &&Row| other.session_id == Some(row.id) && other.id != row.id;
            let end = tables.log.values().find(is_end).filter(|_| !self.has(M::NoEnds));
            let end = end.map(|end| End::of(end.time, &end.additional_fields));
            let mut session = Listed::new(row, None);
            session.end = end;
            session
        });
        Ok(sessions.collect())
    }

    async fn plot(&self, filter: &Filter) -> Result<Plot, Infallible> {
        let tables = self.inner.0.lock().await;
        let all = Filter::default().select(tables.log.values(), Page::first(Page::MAX));
        let mut plot = Plot::of(all.iter(), filter);
        if self.has(M::Doubled) {
            plot.steps.iter_mut().for_each(|step| step.visits *= 2);
        }
        if self.has(M::ShortSteps) {
            plot.length = plot.length.min(Duration::from_secs(60));
        }
        Ok(plot)
    }

    async fn look_up(&self, _: &Names) -> Result<Found, Infallible> {
        Ok(Found::default())
    }

    async fn usernames(&self, _: &[UserId]) -> Result<HashMap<UserId, String>, Infallible> {
        Ok(HashMap::new())
    }
}

/// A world whose times are moved back, as those of a database are
struct Own<S = Arc<Store>> {
    store: S,
    inner: Arc<Store>,
}

impl Own {
    fn with(mistake: Option<Mistake>) -> Self {
        let inner = Arc::new(Store { mistake, ..Store::default() });
        Self { store: Arc::clone(&inner), inner }
    }
}

impl<S: Send + Sync + 'static> World for Own<S> {
    type Store = S;

    fn store(&self) -> &S {
        &self.store
    }

    #[expect(clippy::disallowed_methods, reason = "the journal has the system's clock")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    async fn later(&self, time: Duration) {
        move_back(&self.inner.inner, time).await;
    }
}

async fn move_back(journal: &OwnJournal, time: Duration) {
    let mut tables = journal.0.lock().await;
    for kept in tables.sessions.values_mut() {
        kept.session.started_at -= time;
        kept.session.updated_at -= time;
    }
    tables.log.values_mut().for_each(|row| row.time -= time);
}

async fn make() -> Own {
    Own::with(None)
}

mod of_a_journal {
    app_audit::journal_conformance!(super::make);
}

mod of_a_log {
    app_audit::audit_log_conformance!(super::make);
}

mod of_an_explorer {
    app_audit::audit_explorer_conformance!(super::make);
}

/// One object for the three ports
struct Objects {
    journal: Arc<dyn DynJournal>,
    log: Box<dyn DynAuditLog>,
}

impl Journal for Objects {
    type Error = ErasedError;

    async fn note(&self, entries: &[Entry], window: Window) -> Result<Vec<Answer>, ErasedError> {
        self.journal.note(entries, window).await
    }

    async fn count(&self, counts: &[Count]) -> Result<(), ErasedError> {
        self.journal.count(counts).await
    }

    async fn end_sessions(&self, window: Window, at_most: u32) -> Result<u64, ErasedError> {
        self.journal.end_sessions(window, at_most).await
    }

    async fn forget(&self, keep: Duration, at_most: u32) -> Result<u64, ErasedError> {
        self.journal.forget(keep, at_most).await
    }

    fn is_unavailable(error: &ErasedError) -> bool {
        <Arc<dyn DynJournal>>::is_unavailable(error)
    }
}

impl AuditLog for Objects {
    type Error = ErasedError;

    async fn list(&self, filter: &Filter, page: Page) -> Result<Vec<Row>, ErasedError> {
        self.log.list(filter, page).await
    }
}

#[tokio::test]
async fn objects_keep_the_rules_too() {
    let objects = async || {
        let inner = Own::with(None).inner;
        let log: Box<dyn DynAuditLog> = Box::new(Arc::clone(&inner));
        let store = Objects { journal: Arc::new(Arc::clone(&inner)), log };
        Own { store, inner }
    };
    journal(objects).await;
    audit_log(objects).await;
    audit_explorer(make).await;
    let explorer: Arc<dyn DynAuditExplorer> = make().await.inner;
    assert_eq!(explorer.explore(&Filter::default(), Page::first(9)).await.unwrap(), []);
    assert_eq!(explorer.list(&Filter::default(), Page::first(9)).await.unwrap(), []);
}

#[tokio::test]
async fn each_mistake_breaks_its_rules_and_each_rule_can_be_broken() {
    let with = |mistake| Own::with(Some(mistake));
    assert_broken!(with; JOURNAL: JournalRule, LOG: AuditLogRule, EXPLORER: AuditExplorerRule);
}

/// The log of the example
impl AuditLog for OwnJournal {
    type Error = Infallible;

    async fn list(&self, filter: &Filter, page: Page) -> Result<Vec<Row>, Infallible> {
        Ok(filter.select(self.0.lock().await.log.values(), page))
    }
}

/// With the provided methods
impl AuditExplorer for OwnJournal {}

/// The example itself, without what the tests of mistakes put around it
struct OfTheExample(Arc<OwnJournal>);

impl World for OfTheExample {
    type Store = OwnJournal;

    fn store(&self) -> &OwnJournal {
        &self.0
    }

    #[expect(clippy::disallowed_methods, reason = "the journal has the system's clock")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    async fn later(&self, time: Duration) {
        move_back(&self.0, time).await;
    }
}

mod of_the_example {
    use std::sync::Arc;

    use super::OfTheExample;

    async fn make() -> OfTheExample {
        OfTheExample(Arc::default())
    }

    mod journal {
        app_audit::journal_conformance!(super::make);
    }

    mod log {
        app_audit::audit_log_conformance!(super::make);
    }
}

#[tokio::test]
async fn the_provided_methods_of_an_explorer_leave_out_only_the_ends_of_sessions() {
    for rule in AuditExplorerRule::ALL {
        let checked = rule.check(OfTheExample(Arc::default())).await;
        assert_eq!(checked.is_err(), *rule == AuditExplorerRule::WithItsEnd, "{checked:?}");
    }
}

#[tokio::test]
async fn the_host_of_the_example_records_one_session() {
    let journal = Arc::new(OwnJournal::default());
    visit_twice(&journal).await;
    let rows = journal.list(&Filter::default(), Page::first(9)).await.unwrap();
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((&*row.action, row.status_code), ("open", 200));
    assert_eq!(row.user_agent.as_deref(), Some("curl/8"));
    assert_eq!(row.additional_fields["slug_or_port"], "terminal");
}

/// Whether a journal was unavailable is known of an object, too
#[tokio::test]
async fn an_erased_error_is_still_unavailable() {
    #[derive(Debug)]
    struct Away;

    impl Journal for Away {
        type Error = std::io::Error;

        async fn note(&self, _: &[Entry], _: Window) -> Result<Vec<Answer>, std::io::Error> {
            Err(std::io::Error::from(std::io::ErrorKind::TimedOut))
        }

        async fn count(&self, _: &[Count]) -> Result<(), std::io::Error> {
            Err(std::io::Error::other("refused"))
        }

        async fn end_sessions(&self, _: Window, _: u32) -> Result<u64, std::io::Error> {
            Ok(0)
        }

        async fn forget(&self, _: Duration, _: u32) -> Result<u64, std::io::Error> {
            Ok(0)
        }

        fn is_unavailable(error: &std::io::Error) -> bool {
            error.kind() == std::io::ErrorKind::TimedOut
        }
    }

    let journal: Arc<dyn DynJournal> = Arc::new(Away);
    let away = journal.note(&[], Window::default()).await.unwrap_err();
    let refused = journal.count(&[]).await.unwrap_err();
    assert!(<Arc<dyn DynJournal>>::is_unavailable(&away) && away.is_unavailable());
    assert!(!<Arc<dyn DynJournal>>::is_unavailable(&refused) && !refused.is_unavailable());
    assert_eq!(
        (away.to_string(), refused.to_string()),
        ("timed out".to_owned(), "refused".to_owned())
    );
    assert!(away.get_ref().downcast_ref::<std::io::Error>().is_some());
}

#[tokio::test]
async fn an_answer_names_the_session_in_either_case() {
    let id = Uuid::from_u128(7);
    assert_eq!([Noted::Began(id), Noted::Continued(id)].map(Noted::session), [id, id]);
}
