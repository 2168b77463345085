use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::front::Front;
use super::limiter::Limiter;
use super::{Receipt, Settings, Stats, Unrecorded};
use crate::{Answer, Count, Entry, Noted, SessionKey};

/// What callers and the writer share
#[derive(Debug)]
pub(super) struct State {
    pub(super) limiter: Limiter,
    pub(super) stats: Stats,
    pub(super) closed: bool,
    front: Front,
    queue: Queue,
    /// What absorbed visits add to sessions, not yet delivered
    counts: HashMap<(SessionKey, Uuid), u64>,
    /// How many entries the writers have taken and not settled
    held: usize,
    /// How many of them are on their way into the journal
    under_way: usize,
    writers: usize,
    capacity: usize,
    /// Visits of one key can be one entry: not where each is a session
    joins: bool,
}

/// Who waits for an entry to be noted
pub(super) type Caller = oneshot::Sender<Result<Noted, Unrecorded>>;

/// An entry and who waits for it
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) entry: Entry,
    pub(super) callers: Vec<Caller>,
}

impl State {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            limiter: Limiter::new(settings.denials_per_minute),
            stats: Stats::default(),
            closed: false,
            front: Front::new(settings.window),
            queue: Queue::default(),
            counts: HashMap::new(),
            held: 0,
            under_way: 0,
            writers: settings.writers.max(1),
            capacity: settings.queue,
            joins: !settings.window.stale.is_zero(),
        }
    }

    /// Takes a visit that needs no entry of its own
    ///
    /// The journal would not be changed by it, or an entry that waits stands for it too.
    pub(super) fn admit(&mut self, key: SessionKey, now: Instant) -> Option<Receipt> {
        if self.closed {
            return None;
        }
        let receipt = match self.front.absorb(key, 1, now) {
            Some(session) => Receipt::of(Noted::Continued(session)),
            None => {
                let waiting = self.queue.get(key).filter(|_| self.joins)?;
                waiting.entry.visits += 1;
                waiting.wait()
            }
        };
        self.stats.absorbed += 1;
        Some(receipt)
    }

    /// Whether there is room for one more entry, `denied` being where a refused visit
    /// came from
    pub(super) fn make_room(
        &mut self,
        denied: Option<Option<IpAddr>>,
        now: Instant,
    ) -> Result<(), Unrecorded> {
        let why = if self.closed {
            Unrecorded::Stopped
        } else if self.queue.items.len() + self.held >= self.capacity {
            Unrecorded::Full
        } else if denied.is_none_or(|ip| self.limiter.admit(ip, now)) {
            return Ok(());
        } else {
            Unrecorded::TooManyDenials
        };
        match why {
            Unrecorded::TooManyDenials => self.stats.limited += 1,
            _ => self.stats.lost += 1,
        }
        Err(why)
    }

    /// Puts an entry at the end of the queue
    pub(super) fn push(&mut self, entry: Entry) -> Receipt {
        let mut waiting = Waiting { entry, callers: Vec::new() };
        let receipt = waiting.wait();
        self.queue.push(waiting);
        receipt
    }

    /// A writer's share of what waits or is under way
    fn share(&self) -> usize {
        (self.queue.items.len() + self.under_way).div_ceil(self.writers)
    }

    /// Whether a writer is to be told that an entry was pushed
    ///
    /// The first is told, so that whoever looks after the queue knows of it, and when so
    /// many wait that they are worth a statement.
    pub(super) fn is_news(&self) -> bool {
        let waiting = self.queue.items.len();
        waiting == 1 || waiting >= self.share()
    }

    /// The next entries to be noted, at most `most`; some turn out to be needless by now
    ///
    /// Each writer takes its share, and nothing as long as less than that waits, unless
    /// it `insists`: a statement costs as much as several entries, so entries that come
    /// while another is under way gather until they are as many, or it ends. If none is
    /// under way, one entry is enough.
    pub(super) fn take(&mut self, most: usize, insists: bool, now: Instant) -> Vec<Waiting> {
        let share = self.share();
        if self.queue.items.len() < share && !insists && !self.closed {
            return Vec::new();
        }
        let most = most.min(share);
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(waiting) = self.queue.pop()
        {
            match self.front.absorb(waiting.entry.key, waiting.entry.visits, now) {
                Some(session) => {
                    self.stats.absorbed += 1;
                    waiting.settle(Ok(Noted::Continued(session)));
                }
                None => taken.push(waiting),
            }
        }
        self.held += taken.len();
        self.under_way += taken.len();
        taken
    }

    /// So many entries are no longer under way, settled or not
    pub(super) fn arrived(&mut self, entries: usize) {
        self.under_way -= entries;
    }

    /// Remembers what the journal said at `asked`
    pub(super) fn noted(&mut self, key: SessionKey, answer: Answer, asked: Instant) {
        self.held -= 1;
        self.stats.written += 1;
        let counts = self.front.insert(key, answer, asked);
        self.owe(counts);
    }

    /// Gives an entry up that the writer holds
    pub(super) fn lost(&mut self) {
        self.held -= 1;
        self.stats.lost += 1;
    }

    /// What is to be added to sessions whose visits are no longer absorbed, or to all
    pub(super) fn take_counts(&mut self, now: Option<Instant>) -> Vec<Count> {
        let expired = self.front.expire(now);
        self.owe(expired);
        let counts = self.counts.drain();
        counts.map(|((key, session), visits)| Count { key, session, visits }).collect()
    }

    /// Keeps what was absorbed until it can be delivered
    pub(super) fn owe(&mut self, counts: impl IntoIterator<Item = Count>) {
        for Count { key, session, visits } in counts {
            *self.counts.entry((key, session)).or_default() += visits;
        }
    }

    /// When absorbed visits are due to be delivered
    pub(super) fn counts_due(&self, now: Instant) -> Option<Instant> {
        if self.counts.is_empty() { self.front.next() } else { Some(now) }
    }

    /// Everything that waits, when nobody will write it any more
    pub(super) fn abandon(&mut self) -> Vec<Waiting> {
        self.closed = true;
        let left: Vec<_> = std::iter::from_fn(|| self.queue.pop()).collect();
        self.held += left.len();
        left
    }

    pub(super) fn stats(&self) -> Stats {
        Stats { queued: self.queue.items.len() + self.held, ..self.stats }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.items.is_empty()
    }
}

impl Waiting {
    fn wait(&mut self) -> Receipt {
        // Those who do not wait are as many as visits, and those who do as requests.
        if self.callers.len() == self.callers.capacity() {
            self.callers.retain(|caller| !caller.is_closed());
        }
        let (caller, receiver) = oneshot::channel();
        self.callers.push(caller);
        Receipt::waiting(receiver)
    }

    /// Tells everybody who waits; of a session that began, only the first began it
    pub(super) fn settle(self, outcome: Result<Noted, Unrecorded>) {
        let mut outcome = outcome;
        for caller in self.callers {
            // A caller that has gone away needs no answer.
            let _ = caller.send(outcome);
            outcome = outcome.map(|noted| Noted::Continued(noted.session()));
        }
    }
}

/// Entries in the order they came, at most one of each key to be found by it
#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Waiting>,
    /// How many have left, so that a place is known by its number
    left: u64,
    by_key: HashMap<SessionKey, u64>,
}

impl Queue {
    fn get(&mut self, key: SessionKey) -> Option<&mut Waiting> {
        let place = self.by_key.get(&key)?.checked_sub(self.left)?;
        self.items.get_mut(usize::try_from(place).ok()?)
    }

    fn push(&mut self, waiting: Waiting) {
        let place = u64::try_from(self.items.len()).unwrap_or(u64::MAX);
        self.by_key.insert(waiting.entry.key, self.left.saturating_add(place));
        self.items.push_back(waiting);
    }

    fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.items.pop_front()?;
        if self.by_key.get(&waiting.entry.key) == Some(&self.left) {
            self.by_key.remove(&waiting.entry.key);
        }
        self.left += 1;
        Some(waiting)
    }
}
