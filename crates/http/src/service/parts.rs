//! The parts of a service, each over the ports that it needs

use std::sync::Arc;
use std::time::SystemTime;

use agent_auth::Rules;
use app_audit::ActJournal;
use app_authz::token::{KeyStore, Rotation};
use arc_swap::ArcSwap;
use identity_fetch::{Clock, Identity};
use store::Store;
use store::import::Import;
use store::listing::Listing;
use store::provider::ProviderSessions;
use store::refresh::LinkTokens;
use store::sharing::Sharing;

use super::Service;
use crate::acts::ActAudit;
use crate::admission::Admission;
use crate::agents::AgentService;
use crate::apps::{AppService, AppsConfig};
use crate::freshness::{Freshness, Nonces};
use crate::host::Host;
use crate::limits::Limits;
use crate::metrics::{HostCounts, Metrics};
use crate::oidc::{Oidc, OidcConfig};
use crate::port_error::PortError;
use crate::ports::{AgentPorts, AppPorts, AuditPorts, Health, Parts};
use crate::refresh::RefreshConfig;
use crate::reply::{Branding, Layout};
use crate::request_span::RequestSpan;
use crate::revocations::Revocations;
use crate::route_groups::{RouteGroup, Routes};

impl Service {
    /// A service that answers about itself alone: health, readiness and metrics
    ///
    /// `clock` is read once for each request.
    #[must_use]
    pub fn new(limits: Limits, clock: Clock) -> Self {
        let metrics = Metrics::new();
        Self {
            agents: None,
            nonces: None,
            pins: false,
            apps: None,
            parts: Parts::default(),
            limits,
            admission: Arc::new(Admission::new(&limits, metrics.clone())),
            acts: Arc::default(),
            refreshes: Arc::default(),
            revocations: Arc::new(Revocations::new(metrics.clone())),
            metrics,
            texts: Arc::default(),
            clock,
            host: Arc::new(Host::new(HostCounts::default)),
            spans: None,
            layout: Arc::new(Layout::new(Branding::default(), None)),
            peers: None,
        }
    }

    /// A service with agent sign-in over a whole [`Store`], by what clouds publish and the default
    /// rules and limits
    ///
    /// Otherwise like [`over`](Self::over). `clock` is `SystemTime::now`, except in tests.
    #[must_use]
    pub fn builtin<S: Store>(
        store: &Arc<S>,
        clock: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        let (rules, limits) = (Rules::default(), Limits::default());
        Self::over(store, Identity::builtin(), rules, limits, Arc::new(clock))
    }

    /// A service with agent sign-in over a whole [`Store`], which also has its health, and, for
    /// when app access is added, its audit log, import, list of apps and shares
    ///
    /// [`with_apps`](Self::with_apps) and [`with_act_audit`](Self::with_act_audit) take the same
    /// store.
    #[must_use]
    pub fn over<S: Store>(
        store: &Arc<S>,
        identity: Identity,
        rules: Rules,
        limits: Limits,
        clock: Clock,
    ) -> Self {
        Self::new(limits, clock)
            .with_agents(Arc::clone(store), identity, rules)
            .with_audit_log(Arc::clone(store))
            .with_import(Arc::clone(store))
            .with_listing(Arc::clone(store))
            .with_sharing(Arc::clone(store))
            .with_health(Arc::clone(store))
    }

    /// The same service, with agent sign-in
    #[must_use]
    pub fn with_agents<C>(self, candidates: Arc<C>, identity: Identity, rules: Rules) -> Self
    where
        C: AgentPorts,
    {
        let agents = AgentService {
            candidates,
            identity: ArcSwap::from_pointee(identity),
            rules,
            bounds: self.limits.body_bounds(),
            metrics: self.metrics.clone(),
        };
        Self { agents: Some(Arc::new(agents)), ..self }
    }

    /// The same service, whose agents sign in with proofs that are this fresh
    ///
    /// Nonces are made with keys that are derived from those of app tokens in `keys`. They are
    /// fetched, and where app access is off also made and rotated, by
    /// [`maintain`](Self::maintain). Pins are kept by the candidates of
    /// [`with_agents`](Self::with_agents).
    #[must_use]
    pub fn with_freshness<S>(mut self, keys: Arc<S>, freshness: &Freshness) -> Self
    where
        S: KeyStore + Rotation<Error: PortError> + Send + 'static,
    {
        self.pins = freshness.pins;
        self.nonces = match freshness.nonces().is_empty() {
            true => None,
            false => Some(Arc::new(Nonces::new(keys, freshness))),
        };
        self
    }

    /// The same service, with app access
    ///
    /// Call it within the tokio runtime on which visits are to be recorded.
    #[must_use]
    pub fn with_apps<S: AppPorts>(self, tables: Arc<S>, config: AppsConfig) -> Self {
        let layout = Layout::new(config.branding.clone(), Some(&config.access_url));
        let apps = AppService::start(
            tables,
            config,
            self.metrics.clone(),
            self.limits.body_bounds(),
            (
                Arc::clone(&self.admission),
                Arc::clone(&self.refreshes),
                Arc::clone(&self.revocations),
            ),
            (Arc::clone(&self.clock), Arc::clone(&self.acts)),
        );
        Self { apps: Some(Arc::new(Arc::new(apps))), layout: Arc::new(layout), ..self }
    }

    /// The same service, with the pages and routes that show the audit
    ///
    /// They are part of app access, whose users read them.
    #[must_use]
    pub fn with_audit_log<S: AuditPorts>(mut self, log: Arc<S>) -> Self {
        self.parts.log = Some(log);
        self
    }

    /// The same service, which records sign-ins and what operators do
    ///
    /// Where acts cannot be recorded, as [`ActJournal::records_acts`] says, they are dropped. Call it
    /// within the tokio runtime on which acts are to be recorded. The journal of a service cannot
    /// be replaced.
    #[must_use]
    pub fn with_act_audit<S: ActJournal + 'static>(self, journal: Arc<S>, audit: ActAudit) -> Self {
        self.acts.start(journal, audit);
        self
    }

    /// The same service, with the route that imports documents
    ///
    /// It is part of app access, whose users may import.
    #[must_use]
    pub fn with_import<S: Import + Send>(mut self, tables: Arc<S>) -> Self {
        self.parts.import = Some(tables);
        self
    }

    /// The same service, with a list of apps on the start page of app access
    #[must_use]
    pub fn with_listing<S: Listing + Send + 'static>(mut self, tables: Arc<S>) -> Self {
        self.parts.listing = Some(tables);
        self
    }

    /// The same service, with the routes that show and change with whom apps are shared by name
    ///
    /// They are part of app access, whose users share. What [`Directory`](app_authz::Directory)
    /// returns has to know the same shares.
    #[must_use]
    pub fn with_sharing<S: Sharing + Send + 'static>(mut self, tables: Arc<S>) -> Self {
        self.parts.sharing = Some(tables);
        self
    }

    /// The same service, at which people sign in with an OpenID provider
    ///
    /// It is part of app access, whose sessions they get, and for a host whose tables of users are
    /// authd's own. The browser's part of a sign-in is sealed with keys that are derived from those of
    /// app tokens.
    #[must_use]
    pub fn with_oidc<S>(mut self, tables: Arc<S>, config: OidcConfig) -> Self
    where
        S: ProviderSessions + KeyStore + Send + 'static,
    {
        self.parts.oidc = Some(Arc::new(Oidc::new(tables, config)));
        self
    }

    /// The same service, which has tokens of identity providers refreshed on which sessions depend
    ///
    /// It is part of app access. Without it, a session whose provider's token has ended counts as
    /// signed out. The clients of a service cannot be replaced.
    #[must_use]
    pub fn with_token_refresh<S>(self, tables: Arc<S>, config: RefreshConfig) -> Self
    where
        S: LinkTokens + Send + 'static,
    {
        self.refreshes.start(tables, config, (Arc::clone(&self.clock), self.metrics.clone()));
        self
    }

    /// The same service, which finds out what was allowed and may not be any more
    ///
    /// It watches what app access allows from now on, and tells listeners of the route, which are
    /// registered proxies, and of [`revocations`](Self::revocations). Call it within the tokio runtime
    /// of the service. The tables of a service cannot be replaced.
    #[must_use]
    pub fn with_revocations<S: store::revocations::Revocations + Send + 'static>(
        self,
        tables: Arc<S>,
    ) -> Self {
        self.revocations.start(tables, Arc::clone(&self.clock));
        self
    }

    /// The same service, which is ready only while `health` is good
    ///
    /// Without it, a service is ready once app access has keys, or at once if app access is off.
    #[must_use]
    pub fn with_health<H: Health>(mut self, health: Arc<H>) -> Self {
        self.parts.health = Some(health);
        self
    }

    /// The same service, which answers these routes alone
    ///
    /// All other paths are not found. On the host of an app they are the app's.
    #[must_use]
    pub fn with_routes(mut self, routes: Routes) -> Self {
        self.parts.routes = routes;
        self
    }

    /// The same service, whose metrics have what the program counts that it is part of
    ///
    /// `counts` is called whenever metrics are served.
    #[must_use]
    pub fn with_host(self, counts: impl Fn() -> HostCounts + Send + Sync + 'static) -> Self {
        Self { host: Arc::new(Host::new(counts)), ..self }
    }

    /// The same service, which calls `observer` with every request that it has answered, except for
    /// those about health, readiness and metrics
    ///
    /// The observer must not block.
    #[must_use]
    pub fn with_spans(self, observer: impl Fn(RequestSpan) + Send + Sync + 'static) -> Self {
        Self { spans: Some(Arc::new(observer)), ..self }
    }

    /// The routes that were chosen, without those of absent parts
    ///
    /// While app access is off, its routes are found, and say so.
    pub(super) fn served(&self) -> Routes {
        let mut served = self.parts.routes;
        if self.agents.is_none() {
            served = served.without(RouteGroup::AgentSignIn);
        }
        if self.apps.is_some() && self.parts.log.is_none() {
            served = served.without(RouteGroup::Audit);
        }
        if self.apps.is_some() && self.parts.import.is_none() {
            served = served.without(RouteGroup::Import);
        }
        if self.apps.is_some() && self.parts.sharing.is_none() {
            served = served.without(RouteGroup::Shares);
        }
        if self.apps.is_some() && self.parts.oidc.is_none() {
            served = served.without(RouteGroup::Oidc);
        }
        if self.apps.is_some() && !self.revocations.is_on() {
            served = served.without(RouteGroup::Revocations);
        }
        served
    }
}
