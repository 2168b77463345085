//! App access: who asks for which app, and what they are answered
//!
//! A request becomes a [`Visit`] (`visit`), which a good app token lets through at once
//! (`flow`). Any other comes to the gate (`gate`), which asks the directory once, decides,
//! and records. How the answer reaches whoever asked is the routes' business.

mod config;
mod control_plane;
mod cookies;
mod cors;
mod deployments;
mod flow;
mod forwarded;
mod gate;
pub(crate) mod keys;
mod query;
mod seal;
mod session;
mod told;
mod visit;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use app_audit::{Recorder, Window};
use app_authz::credential::{KeyHolder, Session, Terms};
use app_authz::rbac::BuiltInRoles;
use hyper::Uri;
use hyper::header::HeaderMap;
use store::Store;
use tokio::sync::Semaphore;
use tracing::{error, warn};

pub use self::config::{AppsConfig, AuditFail, CookieConfig, SameSite, Signing};
pub(crate) use self::control_plane::{Upstream, cookies as cookies_for_control_plane};
pub(crate) use self::cookies::{Cookies, Lasting, cookies, for_app as cookies_for_app};
pub(crate) use self::cors::Preflight;
use self::deployments::{Deployment, Deployments};
pub(crate) use self::flow::{Allowed, Request as VisitRequest, user_agent, visit};
pub(crate) use self::forwarded::{Asked, X_FORWARDED_HOST, first, own_host};
pub use self::forwarded::{Network, NoNetwork, TrustedProxies};
pub(crate) use self::gate::{Asking, Issued, Whence, issue};
use self::keys::Keys;
pub use self::keys::KeysError;
pub(crate) use self::query::{
    encoded, encoded_path, for_app as query_for_app, holds_token, parameters,
};
use self::seal::Seals;
pub(crate) use self::session::{SignedIn, same_origin, signed_in};
pub(crate) use self::told::Told;
pub(crate) use self::visit::{Visit, accepts_html, carried, parameter, terminal_agent, with_query};
use crate::telemetry::Metrics;

/// Everything app access needs, for as long as the server runs
pub(crate) struct Apps<S> {
    pub(crate) config: AppsConfig,
    pub(crate) store: Arc<S>,
    pub(crate) deployments: Deployments,
    pub(crate) cookies: Cookies,
    pub(crate) keys: Keys,
    pub(crate) seals: Seals,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Metrics,
    roles: BuiltInRoles,
    /// What the server is called in a key's audience
    audience: String,
    /// Visits being decided, whether or not somebody waits for them
    visits: Arc<Semaphore>,
    /// Writes that nobody waits for
    writes: Arc<Semaphore>,
}

impl<S: Store> Apps<S> {
    /// Puts the parts together, on the runtime on which events are to be recorded
    pub(crate) fn start(
        store: Arc<S>,
        config: AppsConfig,
        metrics: Metrics,
        visits: usize,
    ) -> Self {
        let cookies = Cookies::new(config.cookies.clone());
        let primary =
            Deployment::primary(config.access_url.clone(), config.app_hosts.clone(), &cookies);
        let settings =
            app_audit::Settings::default().window(window(&config)).observer(audit_observer());
        Self {
            recorder: Recorder::start(Arc::clone(&store), settings),
            deployments: Deployments::new(primary, cookies.clone()),
            cookies,
            keys: Keys::new(config.signing),
            seals: Seals::default(),
            roles: BuiltInRoles::new(config.switches),
            audience: config.access_url.to_string().trim_end_matches('/').to_owned(),
            visits: Arc::new(Semaphore::new(visits)),
            writes: Arc::new(Semaphore::new(WRITES)),
            metrics,
            store,
            config,
        }
    }

    /// What an audit session is
    pub(crate) fn audit_window(&self) -> Window {
        window(&self.config)
    }

    /// Whether a request that no route answers is for an app: by its host or its path
    pub(crate) fn is_visited_by<B>(
        &self,
        request: &hyper::Request<B>,
        peer: Option<IpAddr>,
    ) -> bool {
        let path = request.uri().path();
        path.starts_with("/@")
            || path.starts_with("/%40")
            || terminal_agent(path).is_some()
            || self.deployments.primary.has_app_host(self.asked_of(request, peer).host)
    }

    /// What was asked, as far as it can be believed
    pub(crate) fn asked_of<'a, B>(
        &self,
        request: &'a hyper::Request<B>,
        peer: Option<IpAddr>,
    ) -> Asked<'a> {
        self.asked(request.uri(), request.headers(), peer)
    }

    /// What was asked, as far as it can be believed
    pub(crate) fn asked<'a>(
        &self,
        uri: &'a Uri,
        headers: &'a HeaderMap,
        peer: Option<IpAddr>,
    ) -> Asked<'a> {
        Asked::of(uri, headers, peer, &self.config.trusted)
    }

    /// On what terms session tokens are taken
    ///
    /// A dormant user is activated by the dashboard alone.
    pub(crate) fn terms(&self) -> Terms<'_> {
        Terms {
            disable_expiry_refresh: self.config.disable_expiry_refresh,
            disable_token_expiry_refresh: self.config.disable_token_expiry_refresh,
            activate_dormant: false,
            audience: &self.audience,
        }
    }

    pub(crate) const fn roles(&self) -> &BuiltInRoles {
        &self.roles
    }

    /// Writes what the use of a key changed, without keeping anybody waiting
    ///
    /// Where too many such writes are under way it is left to the key's next use.
    pub(crate) fn write_back(&self, holder: &KeyHolder, session: Session, ip: Option<IpAddr>) {
        let Some(update) = session.update else { return };
        let Ok(permit) = Arc::clone(&self.writes).try_acquire_owned() else { return };
        let (store, key) = (Arc::clone(&self.store), holder.key.clone());
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = store.update(&key, update, ip).await {
                warn!(
                    key = key.id,
                    error = crate::error::chain(&error),
                    "a session was not updated"
                );
            }
        });
    }
}

impl<S> fmt::Debug for Apps<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apps").field("config", &self.config).finish_non_exhaustive()
    }
}

fn window(config: &AppsConfig) -> Window {
    Window::default().stale(config.audit_session_timeout).close(config.audit_close_rows)
}

/// Who is told of what goes wrong with the audit
pub(crate) fn audit_observer() -> Arc<dyn app_audit::Observer> {
    Arc::new(AuditLog)
}

/// Says in the log what the audit could not keep
#[derive(Debug)]
struct AuditLog;

impl app_audit::Observer for AuditLog {
    fn unrecorded(&self, record: &app_audit::Record, why: app_audit::RecordError) {
        // Nowhere else is there a trace of it, so all of it is told.
        error!(%why, record = ?record, "an audit event was not recorded");
    }

    fn limited(&self, denials: u64) {
        warn!(denials, "refusals of busy addresses were left out of the audit");
    }

    fn failing(&self, error: &dyn std::error::Error, waiting: usize) {
        error!(error = crate::error::chain(error), waiting, "the audit cannot be written");
    }
}

/// Updates of sessions under way at a time
const WRITES: usize = 64;

/// How long the audit may take to write what is queued when the server stops
pub(crate) const AUDIT_DRAIN: Duration = Duration::from_secs(10);
