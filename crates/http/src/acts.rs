use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use app_audit::{
    Act, ActJournal, ActKind, ActRecorder, RecordError, Settings, SpoolFile, Stats, SubjectKind,
};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};
use uuid::Uuid;

use crate::batches::{BATCH, BATCH_PAUSE};
use crate::context::Context;
use crate::error::{BoxError, SignInError};
use crate::observer::{act_observer, flush, spool};

/// How sign-ins and what operators do are recorded
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ActAudit {
    /// Whether an agent gets its token only once its sign-in is recorded
    pub is_required: bool,
    /// The file that keeps acts which the store did not get; `None` to log them
    pub spool: Option<PathBuf>,
}

impl ActAudit {
    /// Records acts with these settings
    #[must_use]
    pub const fn new(is_required: bool, spool: Option<PathBuf>) -> Self {
        Self { is_required, spool }
    }
}

/// Records acts, once it was started
#[derive(Default)]
pub(crate) struct Acts(OnceLock<Started>);

struct Started {
    recorder: ActRecorder,
    old: Arc<dyn OldActs>,
    spool: Option<Arc<SpoolFile>>,
    is_required: bool,
    dropped: Arc<AtomicU64>,
}

impl Acts {
    /// Starts to record on the current runtime, unless it was started before
    pub(crate) fn start<S: ActJournal + 'static>(&self, journal: Arc<S>, audit: ActAudit) {
        let ActAudit { is_required, spool: path } = audit;
        self.0.get_or_init(|| {
            let spool = path.map(|path| Arc::new(spool(path)));
            let settings = Settings::default().spool(spool.clone()).observer(act_observer());
            let dropped = Arc::<AtomicU64>::default();
            let (counter, closed) = (Arc::clone(&dropped), Mutex::default());
            let old: Arc<dyn OldActs> = Arc::<S>::clone(&journal);
            let gate = Gate { journal, is_required, closed, dropped: counter };
            let recorder = ActRecorder::start(Arc::new(gate), settings);
            Started { recorder, old, spool, is_required, dropped }
        });
    }

    /// Records an act whose answer does not wait for that
    pub(crate) fn record(&self, act: Act) {
        if let Some(started) = self.0.get() {
            // What is not captured is counted, and kept in the spool or the log.
            let _ = started.recorder.record(act);
        }
    }

    /// Records an act, and waits until it is written only if the configuration demands that
    ///
    /// # Errors
    ///
    /// Fails if it must be written, and is not yet.
    pub(crate) async fn record_first(&self, act: Act) -> Result<(), RecordError> {
        let Some(started) = self.0.get() else { return Ok(()) };
        let captured = started.recorder.record(act);
        if !started.is_required {
            return Ok(());
        }
        let written = tokio::time::timeout(AUDIT_TIMEOUT, captured?).await;
        written.unwrap_or(Err(RecordError::Full)).map(|_| ())
    }

    /// Counts of acts
    pub(crate) fn stats(&self) -> Option<Stats> {
        let started = self.0.get()?;
        let mut stats = started.recorder.stats();
        // To the recorder, the gate has written them.
        stats.written = stats.written.saturating_sub(started.dropped.load(Ordering::Relaxed));
        Some(stats)
    }

    /// The acts of the past, if acts are recorded
    pub(crate) fn old(&self) -> Option<Arc<dyn OldActs>> {
        self.0.get().map(|started| Arc::clone(&started.old))
    }

    /// Waits until queued acts are written, for ten seconds at most
    ///
    /// What is left goes to the spool file.
    pub(crate) async fn drain(&self) {
        let Some(started) = self.0.get() else { return };
        let drained = started.recorder.drain(DRAIN).await;
        let (written, spooled, lost) = (drained.written, drained.spooled, drained.lost);
        info!(written, spooled, lost, "audit of sign-ins drained");
        if let Some(spool) = &started.spool {
            flush(Arc::clone(spool)).await;
        }
    }
}

/// The act of a request that has no subject yet
pub(crate) fn act(kind: ActKind, cx: &Context<'_>) -> Act {
    let user_agent = cx.headers().get(http::header::USER_AGENT);
    let user_agent = user_agent.map_or(&[][..], |value| value.as_bytes());
    Act::new(kind, cx.now).request(cx.facts.id.uuid(), cx.client, user_agent)
}

/// The act of a sign-in that was refused; `None` if the server failed, which says nothing about
/// the machine
pub(crate) fn refused_sign_in(error: &SignInError, cx: &Context<'_>) -> Option<Act> {
    let problem = error.problem();
    if problem.status.is_server_error() {
        return None;
    }
    let class = match error {
        SignInError::InvalidIdentity { rejection, .. } => rejection.reason().as_str(),
        _ => problem.class,
    };
    let facts = error.machine()?;
    let mut act = act(ActKind::AgentSignIn, cx).refused(class);
    if let Some(cloud) = facts.cloud {
        act = act.proof(cloud);
    }
    let instance = facts.instance_id.map(|id| (SubjectKind::Instance, id));
    let claimed = facts.instance_id_unverified.map(|id| (SubjectKind::ClaimedInstance, id));
    if let Some((kind, id)) = instance.or(claimed) {
        act = act.subject(kind, id);
    }
    if let Some(setting) = facts.setting {
        act = act.detail("setting", setting);
    }
    Some(act)
}

/// The journal as a recorder sees it, which cannot record acts everywhere
///
/// Beside a control plane the table of acts is missing until `authd migrate --owned-only` has run,
/// and sign-ins work without it. Acts are then dropped, instead of waiting in the queue for good.
struct Gate<S> {
    journal: Arc<S>,
    is_required: bool,
    /// Since when acts are dropped
    closed: Mutex<Option<Instant>>,
    /// Acts that were dropped
    dropped: Arc<AtomicU64>,
}

impl<S: ActJournal> Gate<S> {
    /// Whether acts are to be dropped for now
    fn drops(&self) -> bool {
        let closed = *self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        closed.is_some_and(|since| since.elapsed() < LOOK_AGAIN)
    }

    /// Finds out why acts were refused; returns whether they are to be dropped
    async fn closes(&self) -> bool {
        // Where a sign-in must be recorded, one that cannot be is refused.
        if self.is_required || !matches!(self.journal.records_acts().await, Ok(false)) {
            return false;
        }
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if closed.replace(Instant::now()).is_none() {
            warn!(
                "sign-ins are not recorded: the table `authd_acts` is missing, or may not be \
                 written to; `authd check` says what to do"
            );
        }
        true
    }

    fn opens(&self) {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if closed.take().is_some() {
            info!("sign-ins are recorded again");
        }
    }
}

impl<S: ActJournal> ActJournal for Gate<S> {
    type Error = S::Error;

    async fn note_acts(&self, acts: &[Act]) -> Result<(), S::Error> {
        if !self.drops() {
            match self.journal.note_acts(acts).await {
                Ok(()) => {
                    self.opens();
                    return Ok(());
                }
                Err(error) if !S::is_unavailable(&error) && self.closes().await => {}
                Err(error) => return Err(error),
            }
        }
        let dropped = u64::try_from(acts.len()).unwrap_or(u64::MAX);
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
        Ok(())
    }

    async fn count_acts(&self, counts: &[(Uuid, u64)]) -> Result<(), S::Error> {
        if self.drops() {
            return Ok(());
        }
        match self.journal.count_acts(counts).await {
            // Counts of acts that were dropped come later than the acts.
            Err(error) if !S::is_unavailable(&error) && self.closes().await => Ok(()),
            counted => counted,
        }
    }

    async fn forget_acts(&self, keep: Duration, at_most: u32) -> Result<u64, S::Error> {
        self.journal.forget_acts(keep, at_most).await
    }

    async fn records_acts(&self) -> Result<bool, S::Error> {
        self.journal.records_acts().await
    }

    fn is_unavailable(error: &S::Error) -> bool {
        S::is_unavailable(error)
    }
}

/// The rows of a journal, with its type erased
pub(crate) trait OldActs: Send + Sync {
    /// Deletes acts that are older than `keep`
    fn forget(&self, keep: Duration) -> BoxFuture<'_, Result<(), BoxError>>;
}

impl<S: ActJournal> OldActs for S {
    fn forget(&self, keep: Duration) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            if !self.records_acts().await? {
                return Ok(());
            }
            while self.forget_acts(keep, BATCH).await? == u64::from(BATCH) {
                sleep(BATCH_PAUSE).await;
            }
            Ok(())
        })
    }
}

/// How long an agent waits for its sign-in to be recorded, if it must be
const AUDIT_TIMEOUT: Duration = Duration::from_secs(3);

/// Time for writing queued acts when the server stops
const DRAIN: Duration = Duration::from_secs(10);

/// For how long acts are dropped until the next one is tried
const LOOK_AGAIN: Duration = Duration::from_secs(60);
