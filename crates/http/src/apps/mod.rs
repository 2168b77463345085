//! App access: which app a visitor asks for, and whether the visitor may open it
//!
//! A request becomes a [`Visit`] (`visit`). A good app token admits it at once (`admit`). Any
//! other visit comes to the gate (`gate`), which asks the directory once, decides, and records.
//! The routes turn what comes back into an answer that their proxy can relay.

mod admit;
mod config;
mod control_plane;
mod cookies;
mod decisions;
mod deployments;
mod event;
mod find;
mod gate;
mod hand_over;
mod housekeeping;
mod keys;
mod listing;
mod origin;
mod query;
mod recent_hosts;
mod refresh;
mod refusal;
mod require;
mod seal;
mod session;
mod sign_in;
mod visit;
mod watch;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use app_audit::{Act, ActKind, Recorder, SpoolFile, SubjectKind, Window};
use app_authz::app::terminal_agent;
use app_authz::credential::{ApiKey, KeyHolder, OtherSessions, Session, Sessions, Terms};
use app_authz::rbac::BuiltInRoles;
use app_authz::token::{Feature, OpenedSeals, RecentTexts};
use identity_fetch::Clock;
use tokio::sync::Semaphore;
use tracing::{info, warn};

pub(crate) use self::admit::{Admitted, admit, user_agent};
pub use self::config::{AppsConfig, AuditFail, CookieConfig, ParseValueError, Signing};
pub(crate) use self::control_plane::{Upstream, cookies as cookies_for_control_plane};
pub(crate) use self::cookies::{Cookies, cookies, for_app as cookies_for_app};
use self::decisions::Decisions;
use self::deployments::{Deployment, Deployments};
pub use self::event::DecidedVisit;
pub(crate) use self::gate::{AccessAttempt, ReturnTo, issue};
pub(crate) use self::hand_over::may_open;
pub(crate) use self::housekeeping::AbortOnDrop;
pub use self::housekeeping::Housekeeping;
pub(crate) use self::housekeeping::OldPins;
pub(crate) use self::keys::Keys;
pub use self::keys::KeysError;
pub(crate) use self::keys::rotate_feature;
pub(crate) use self::listing::app_list;
pub(crate) use self::origin::{Page, SEC_FETCH_SITE, Siblings};
pub(crate) use self::query::parameters;
pub(crate) use self::refusal::Refusal;
pub(crate) use self::require::{Require, SignedIn};
pub(crate) use self::session::{presented_sessions, same_origin};
pub(crate) use self::visit::{Visit, parameter, with_query};
use self::watch::SessionWatch;
use crate::acts::Acts;
use crate::admission::Admission;
use crate::body::Bounds;
use crate::context::Context;
use crate::error::chain;
use crate::metrics::Metrics;
use crate::observer::{flush, observer, spool};
use crate::ports::AppPorts;
use crate::refresh::Refreshes;
use crate::revocations::Revocations;

/// Everything that app access needs, for as long as the server runs
pub(crate) struct AppService<S> {
    pub(crate) config: AppsConfig,
    pub(crate) store: Arc<S>,
    pub(crate) deployments: Deployments,
    pub(crate) cookies: Cookies,
    pub(crate) keys: Keys,
    pub(crate) bounds: Bounds,
    pub(crate) acts: Arc<Acts>,
    pub(crate) revocations: Arc<Revocations>,
    metrics: Metrics,
    /// Seals that this replica has opened: each is opened once, over all replicas
    opened_seals: OpenedSeals,
    /// The nonces of browsers that have signed in and were admitted
    used_nonces: RecentTexts,
    decisions: Decisions,
    /// Refreshes tokens of identity providers on which sessions depend
    refreshes: Arc<Refreshes>,
    /// Which sessions have ended since their app tokens were signed
    sessions: Arc<SessionWatch>,
    _watching: AbortOnDrop,
    recorder: Recorder,
    spool: Option<Arc<SpoolFile>>,
    roles: BuiltInRoles,
    /// The name of this server in a key's audience
    audience: String,
    admission: Arc<Admission>,
    /// Writes whose outcome no request waits for
    writes: Arc<Semaphore>,
    /// Lists of apps that may be read at the same time
    lists: Semaphore,
    /// Files of the audit that are being sent
    pub(crate) exports: Arc<Semaphore>,
}

impl<S: AppPorts> AppService<S> {
    /// Starts to record events on the current runtime
    pub(crate) fn start(
        store: Arc<S>,
        config: AppsConfig,
        metrics: Metrics,
        bounds: Bounds,
        (admission, refreshes, revocations): (Arc<Admission>, Arc<Refreshes>, Arc<Revocations>),
        (clock, acts): (Clock, Arc<Acts>),
    ) -> Self {
        let cookies = Cookies::new(config.cookies.clone());
        let primary =
            Deployment::primary(config.access_url.clone(), config.app_hosts.clone(), &cookies);
        let spool = config.audit_spool.clone().map(|path| Arc::new(spool(path)));
        let settings = app_audit::Settings::default().window(window(&config)).observer(observer());
        let settings = settings.spool(spool.clone());
        let sessions = Arc::new(SessionWatch::new(config.token_lifetime, metrics.clone()));
        let watching = Arc::clone(&sessions).run(Arc::clone(&store), clock);
        Self {
            spool,
            _watching: AbortOnDrop(tokio::spawn(watching)),
            sessions,
            recorder: Recorder::start(Arc::clone(&store), settings),
            deployments: Deployments::new(primary, cookies.clone()),
            cookies,
            keys: Keys::new(config.signing),
            bounds,
            acts,
            revocations,
            opened_seals: OpenedSeals::new(),
            used_nonces: RecentTexts::new(sign_in::LATELY),
            decisions: Decisions::default(),
            refreshes,
            roles: BuiltInRoles::new(config.switches),
            audience: config.access_url.to_string().trim_end_matches('/').to_owned(),
            admission,
            writes: Arc::new(Semaphore::new(WRITES)),
            lists: Semaphore::new(LISTS),
            exports: Arc::new(Semaphore::new(EXPORTS)),
            metrics,
            store,
            config,
        }
    }

    /// Refreshes the keys if that is due; with `rotate` first makes and rotates them if due
    ///
    /// # Errors
    ///
    /// If the store fails, or the system has no random bytes; the fetched keys stay in use.
    pub(crate) async fn maintain_keys(
        &self,
        rotate: bool,
        now: SystemTime,
    ) -> Result<(), KeysError> {
        // A replica that cannot rotate still needs the keys that another replica made.
        let rotated = if rotate { self.rotate_keys(now).await } else { Ok(()) };
        let refreshed = self.keys.refresh(&*self.store, now).await;
        rotated.and_then(|()| refreshed.map_err(Into::into))
    }

    /// Makes and rotates keys if that is due, and records it
    async fn rotate_keys(&self, now: SystemTime) -> Result<(), KeysError> {
        let rotated = |feature: Feature, changes: usize| {
            let act = Act::new(ActKind::KeysRotate, now)
                .subject(SubjectKind::Keys, feature.as_str())
                .detail("by", "authd serve")
                .detail_value("changes", changes.into());
            self.acts.record(act);
        };
        keys::rotate(&*self.store, now, rotated).await
    }

    /// Starts to delete rows of visits that are older than `keep_rows`, sessions of visits that
    /// ended, and sessions for apps that ended
    pub(crate) fn start_housekeeping(
        &self,
        keep_rows: Option<Duration>,
        clock: Clock,
    ) -> Housekeeping {
        let of_audit = app_audit::Housekeeping::start(
            Arc::clone(&self.store),
            window(&self.config),
            keep_rows,
            observer(),
        );
        Housekeeping::start(of_audit, Arc::clone(&self.store), clock)
    }

    /// Waits until queued audit events are written, for ten seconds at most
    ///
    /// What is left goes to the spool file.
    pub(crate) async fn drain_audit(&self) {
        let drained = self.recorder.drain(AUDIT_DRAIN).await;
        let (written, spooled, lost) = (drained.written, drained.spooled, drained.lost);
        info!(written, spooled, lost, "audit drained");
        if let Some(spool) = &self.spool {
            flush(Arc::clone(spool)).await;
        }
    }

    /// Counts of audit events
    pub(crate) fn audit_stats(&self) -> app_audit::Stats {
        self.recorder.stats()
    }

    /// Whether a request for a path that is not a route is for an app, by host or path
    pub(crate) fn is_visited_by(&self, cx: &Context<'_>) -> bool {
        cx.path.starts_with("/@")
            || cx.path.starts_with("/%40")
            || terminal_agent(cx.path).is_some()
            || self.deployments.primary.has_app_host(cx.host)
    }

    /// Whether a request beside a dashboard's is for an app, by host or path
    ///
    /// As in the examples of proxies: on the dashboard's host, `/@USER` and what follows are its own
    /// pages, unless the path is that of an app.
    pub(crate) fn is_for_app(&self, cx: &Context<'_>) -> bool {
        visit::is_of_app(cx.path) || self.deployments.primary.has_app_host(cx.host)
    }

    /// The terms on which session tokens are accepted
    ///
    /// Only the dashboard activates a dormant user: until a user has signed in there again, the
    /// session counts as signed out. So does one whose provider's token has expired by the time at
    /// which it is decided, after a [refresh](Self::refresh_link) if there can be one.
    pub(crate) fn terms(&self) -> Terms<'_> {
        Terms::default()
            .disable_expiry_refresh(self.config.disable_expiry_refresh)
            .disable_token_expiry_refresh(self.config.disable_token_expiry_refresh)
            .audience(&self.audience)
    }

    pub(crate) const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn admission(&self) -> &Admission {
        &self.admission
    }

    pub(crate) const fn roles(&self) -> &BuiltInRoles {
        &self.roles
    }

    /// The URL of the dashboard, for the link on pages
    pub(crate) fn dashboard(&self) -> String {
        self.config.access_url.to_string()
    }

    /// Ends a session, those that were made from it, and others of the same user
    pub(crate) async fn end_session(
        &self,
        key: &ApiKey,
        others: OtherSessions,
        now: SystemTime,
    ) -> Result<(), <S as Sessions>::Error> {
        let ended = self.store.log_out(key, others).await?;
        self.sessions.end(&ended, now);
        Ok(())
    }

    /// Notes that sessions have ended, so that their app tokens are refused
    pub(crate) fn sessions_ended(&self, ids: &[String], now: SystemTime) {
        self.sessions.end(ids, now);
    }

    /// Writes what the use of a key changed, without waiting for it
    ///
    /// If too many such writes are under way, the key's next use makes the change.
    pub(crate) fn write_back(&self, holder: &KeyHolder, session: Session, ip: Option<IpAddr>) {
        let Some(update) = session.update else { return };
        let Ok(permit) = Arc::clone(&self.writes).try_acquire_owned() else { return };
        let (store, key) = (Arc::clone(&self.store), holder.key.clone());
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = store.update(&key, update, ip).await {
                warn!(key = key.id, error = chain(&error), "a session was not updated");
            }
        });
    }
}

impl<S> fmt::Debug for AppService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppService").field("config", &self.config).finish_non_exhaustive()
    }
}

fn window(config: &AppsConfig) -> Window {
    Window::default().stale(config.audit_session_timeout).close(config.audit_close_rows)
}

/// Updates of sessions that may be under way at the same time
const WRITES: usize = 64;

/// A list takes longer than other statements, which must not wait for too many of them
const LISTS: usize = 3;

/// Files of the audit that may be sent at the same time, each with half a megabyte in memory
const EXPORTS: usize = 4;

/// Time for writing queued audit events when the server stops
const AUDIT_DRAIN: Duration = Duration::from_secs(10);
