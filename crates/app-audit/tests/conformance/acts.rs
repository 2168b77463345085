//! Journals and logs of acts

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use app_audit::conformance::{ActJournalRule, ActLogRule, World, act_journal, act_log};
use app_audit::{
    Act, ActFilter, ActJournal, ActLog, ActRow, DynActJournal, DynActLog, ErasedError, Page,
};
use tokio::task::yield_now;
use uuid::Uuid;

use crate::{assert_broken, page_by_offset};

/// Acts in memory, with at most one mistake
#[derive(Debug, Default)]
struct Store {
    rows: Mutex<BTreeMap<Uuid, ActRow>>,
    mistake: Option<Mistake>,
    listed: Mutex<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    NeverMerged,
    LastRequest,
    AlwaysMerged,
    CountsAgain,
    OnlyOneOfACall,
    Race,
    OneByOne,
    CountIsSet,
    Unbounded,
    ForgetsAll,
    SaysNo,
    OldestFirst,
    ByTime,
    ByOffset,
    NoLimit,
    AnyCase,
    NoDetail,
}

use Mistake as M;

const JOURNAL: &[(Mistake, &[ActJournalRule])] = &[
    (M::NeverMerged, &[ActJournalRule::OneRow, ActJournalRule::Together]),
    (M::LastRequest, &[ActJournalRule::OneRow]),
    (M::AlwaysMerged, &[ActJournalRule::OtherRows]),
    (M::CountsAgain, &[ActJournalRule::Again]),
    (M::OnlyOneOfACall, &[ActJournalRule::Together]),
    (M::Race, &[ActJournalRule::Concurrent]),
    (M::OneByOne, &[ActJournalRule::AllOrNone]),
    (M::CountIsSet, &[ActJournalRule::Counted]),
    (M::Unbounded, &[ActJournalRule::Forgotten]),
    (M::ForgetsAll, &[ActJournalRule::Forgotten]),
    (M::SaysNo, &[ActJournalRule::Records]),
];

const LOG: &[(Mistake, &[ActLogRule])] = &[
    (M::OldestFirst, &[ActLogRule::AsWritten, ActLogRule::Pages]),
    (M::ByTime, &[ActLogRule::Pages]),
    (M::ByOffset, &[ActLogRule::WrittenMeanwhile]),
    (M::NoLimit, &[ActLogRule::Pages]),
    (M::AnyCase, &[ActLogRule::Filters]),
    (M::NoDetail, &[ActLogRule::AsWritten]),
];

impl Store {
    fn has(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    fn id(&self, act: &Act) -> Uuid {
        match self.mistake {
            Some(M::NeverMerged) => Uuid::new_v4(),
            Some(M::AlwaysMerged) => Uuid::nil(),
            _ => act.id(),
        }
    }

    fn add(&self, sums: BTreeMap<Uuid, (&Act, u64)>) {
        let mut rows = self.rows.lock().unwrap();
        for (id, (act, times)) in sums {
            let mut new = ActRow::from(act);
            (new.id, new.times) = (id, 0);
            let is_new = !rows.contains_key(&id);
            let row = rows.entry(id).or_insert(new);
            if is_new || row.request_id != act.request || self.has(M::CountsAgain) {
                row.times += times;
            }
            if self.has(M::LastRequest) {
                row.request_id = act.request;
            }
        }
    }
}

impl ActJournal for Store {
    type Error = Infallible;

    async fn note_acts(&self, acts: &[Act]) -> Result<(), Infallible> {
        let mut sums: BTreeMap<Uuid, (&Act, u64)> = BTreeMap::new();
        for act in acts {
            let (_, times) = sums.entry(self.id(act)).or_insert((act, 0));
            *times = if self.has(M::OnlyOneOfACall) { act.times } else { *times + act.times };
        }
        if self.has(M::OneByOne) {
            for (id, sum) in sums {
                self.add(BTreeMap::from([(id, sum)]));
                yield_now().await;
            }
        } else if self.has(M::Race) {
            let before = self.rows.lock().unwrap().clone();
            yield_now().await;
            self.add(sums.clone());
            let mut rows = self.rows.lock().unwrap();
            for (id, (_, times)) in sums {
                let times = times + before.get(&id).map_or(0, |row| row.times);
                rows.entry(id).and_modify(|row| row.times = times);
            }
        } else {
            self.add(sums);
        }
        Ok(())
    }

    async fn count_acts(&self, counts: &[(Uuid, u64)]) -> Result<(), Infallible> {
        let mut rows = self.rows.lock().unwrap();
        for (id, times) in counts {
            let before = if self.has(M::CountIsSet) { 0 } else { 1 };
            rows.entry(*id).and_modify(|row| row.times = before * row.times + times);
        }
        Ok(())
    }

    async fn forget_acts(&self, keep: Duration, at_most: u32) -> Result<u64, Infallible> {
        let mut rows = self.rows.lock().unwrap();
        let keep = if self.has(M::ForgetsAll) { Duration::ZERO } else { keep };
        let is_old = |row: &&ActRow| row.time + keep < now();
        let old: Vec<Uuid> = rows.values().filter(is_old).map(|row| row.id).collect();
        let most = if self.has(M::Unbounded) { usize::MAX } else { at_most.try_into().unwrap() };
        let deleted = old.iter().take(most).filter_map(|id| rows.remove(id)).count();
        Ok(deleted.try_into().unwrap())
    }

    async fn records_acts(&self) -> Result<bool, Infallible> {
        Ok(!self.has(M::SaysNo))
    }

    fn is_unavailable(_: &Infallible) -> bool {
        false
    }
}

impl ActLog for Store {
    type Error = Infallible;

    async fn list_acts(&self, filter: &ActFilter, page: Page) -> Result<Vec<ActRow>, Infallible> {
        let mut all: Vec<ActRow> = self.rows.lock().unwrap().values().cloned().collect();
        let mut filter = filter.clone();
        match self.mistake {
            Some(M::AnyCase) => {
                filter.subject = filter.subject.map(|subject| subject.to_lowercase());
            }
            Some(M::NoDetail) => all.iter_mut().for_each(|row| row.detail.clear()),
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

#[expect(clippy::disallowed_methods, reason = "the journal has the system's clock")]
fn now() -> SystemTime {
    SystemTime::now()
}

struct Own<S = Store>(S);

impl<S: Send + Sync + 'static> World for Own<S> {
    type Store = S;

    fn store(&self) -> &S {
        &self.0
    }

    fn now(&self) -> SystemTime {
        now()
    }

    async fn later(&self, _: Duration) {}
}

async fn make() -> Own {
    Own(Store::default())
}

mod of_a_journal {
    app_audit::act_journal_conformance!(super::make);
}

mod of_a_log {
    app_audit::act_log_conformance!(
        #[tokio::test(start_paused = true)]
        super::make
    );
}

struct Objects {
    journal: Box<dyn DynActJournal>,
    log: Arc<dyn DynActLog>,
}

impl ActJournal for Objects {
    type Error = ErasedError;

    async fn note_acts(&self, acts: &[Act]) -> Result<(), ErasedError> {
        self.journal.note_acts(acts).await
    }

    async fn count_acts(&self, counts: &[(Uuid, u64)]) -> Result<(), ErasedError> {
        self.journal.count_acts(counts).await
    }

    async fn forget_acts(&self, keep: Duration, at_most: u32) -> Result<u64, ErasedError> {
        self.journal.forget_acts(keep, at_most).await
    }

    async fn records_acts(&self) -> Result<bool, ErasedError> {
        self.journal.records_acts().await
    }

    fn is_unavailable(error: &ErasedError) -> bool {
        error.is_unavailable()
    }
}

impl ActLog for Objects {
    type Error = ErasedError;

    async fn list_acts(&self, filter: &ActFilter, page: Page) -> Result<Vec<ActRow>, ErasedError> {
        self.log.list_acts(filter, page).await
    }
}

#[tokio::test]
async fn objects_keep_the_rules_too() {
    let objects = async || {
        let store = Arc::new(Store::default());
        Own(Objects { journal: Box::new(Arc::clone(&store)), log: store })
    };
    act_journal(objects).await;
    act_log(objects).await;
}

#[tokio::test]
async fn each_mistake_breaks_its_rules_and_each_rule_can_be_broken() {
    let with = |mistake| Own(Store { mistake: Some(mistake), ..Store::default() });
    assert_broken!(with; JOURNAL: ActJournalRule, LOG: ActLogRule);
}

/// Whether a journal was unavailable is known of an object, too
#[tokio::test]
async fn an_erased_error_is_still_unavailable() {
    struct Away;

    impl ActJournal for Away {
        type Error = std::io::Error;

        async fn note_acts(&self, _: &[Act]) -> Result<(), std::io::Error> {
            Err(std::io::Error::from(std::io::ErrorKind::TimedOut))
        }

        async fn count_acts(&self, _: &[(Uuid, u64)]) -> Result<(), std::io::Error> {
            Err(std::io::Error::other("refused"))
        }

        async fn forget_acts(&self, _: Duration, _: u32) -> Result<u64, std::io::Error> {
            Ok(0)
        }

        async fn records_acts(&self) -> Result<bool, std::io::Error> {
            Ok(true)
        }

        fn is_unavailable(error: &std::io::Error) -> bool {
            error.kind() == std::io::ErrorKind::TimedOut
        }
    }

    let journal: Arc<dyn DynActJournal> = Arc::new(Away);
    let away = journal.note_acts(&[]).await.unwrap_err();
    let refused = journal.count_acts(&[]).await.unwrap_err();
    assert!(<Arc<dyn DynActJournal>>::is_unavailable(&away));
    assert!(!<Arc<dyn DynActJournal>>::is_unavailable(&refused));
}
