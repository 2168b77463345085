use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use app_authz::address::{HostMeaning, HostPattern, HttpUrl, RedirectHosts};
use app_authz::credential::CookieNames;
use app_authz::proxy::{Proxies, Proxy, ProxyToken};
use arc_swap::ArcSwapOption;
use tracing::warn;

use super::cookies::Cookies;

/// A place where apps are reached: the dashboard's own, or a registered proxy
#[derive(Debug)]
pub(crate) struct Deployment {
    /// The base of its path apps
    pub(crate) url: HttpUrl,
    /// The pattern of its app hosts
    pub(crate) app_hosts: Option<HostPattern>,
    pub(crate) cookie_names: CookieNames,
    /// Whether it is the dashboard's own
    pub(crate) primary: bool,
}

impl Deployment {
    pub(crate) fn primary(url: HttpUrl, app_hosts: Option<HostPattern>, cookies: &Cookies) -> Self {
        let cookie_names = cookies.names(app_hosts.as_ref());
        Self { url, app_hosts, cookie_names, primary: true }
    }

    fn of_proxy(proxy: &Proxy, cookies: &Cookies) -> Option<Self> {
        let url: HttpUrl = proxy.url.parse().ok()?;
        let app_hosts = match &*proxy.wildcard_hostname {
            "" => None,
            pattern => Some(pattern.parse::<HostPattern>().ok()?),
        };
        let cookie_names = cookies.names(app_hosts.as_ref());
        Some(Self { url, app_hosts, cookie_names, primary: false })
    }

    /// What the host means here; nothing if it is none of this place's
    fn meaning(&self, host: &str) -> Option<HostMeaning> {
        if self.url.is_on(host) {
            return Some(HostMeaning::Dashboard);
        }
        match HostMeaning::of(host, self.app_hosts.as_ref(), []) {
            HostMeaning::Dashboard => None,
            meaning => Some(meaning),
        }
    }

    /// The address of a visitor who asked for `host`: their own host and port, under the
    /// scheme of this place
    ///
    /// Some proxies leave out the port. Then it is that of the URL or the one that the pattern
    /// of an app's host names, and it stays out where there is none.
    pub(super) fn address(&self, host: &str) -> HttpUrl {
        let host = host.trim();
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (name, Some(port)),
            _ => (host, None),
        };
        let port = port.and_then(|port| port.parse().ok());
        let port: Option<u16> = port.or_else(|| match self.url.is_on(name) {
            true => self.url.port(),
            false => self.app_hosts.as_ref()?.port(),
        });
        let name = name.trim_end_matches('.');
        let authority = port.map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        // Any host that means something here can stand in a URL.
        self.url.clone().with_authority(&authority).unwrap_or_else(|_| self.url.clone())
    }

    /// Whether the host is of its pattern
    pub(crate) fn has_app_host(&self, host: &str) -> bool {
        !matches!(self.meaning(host), None | Some(HostMeaning::Dashboard))
    }
}

/// The registered proxies, as last fetched
#[derive(Debug, Default)]
pub(crate) struct Registered {
    proxies: Vec<Proxy>,
    deployments: Vec<Arc<Deployment>>,
    redirect_hosts: RedirectHosts,
}

impl Registered {
    fn new(proxies: Vec<Proxy>, primary: &Deployment, cookies: &Cookies) -> Self {
        let mut redirect_hosts = RedirectHosts::new(primary.url.clone(), primary.app_hosts.clone());
        let mut deployments = Vec::new();
        for proxy in &proxies {
            match Deployment::of_proxy(proxy, cookies) {
                Some(deployment) => {
                    redirect_hosts = redirect_hosts
                        .with_proxy(deployment.url.clone(), deployment.app_hosts.clone());
                    deployments.push(Arc::new(deployment));
                }
                // It has not registered its URL yet.
                None if proxy.url.is_empty() => {}
                None => warn!(proxy = proxy.name, "the proxy's URL or wildcard is not usable"),
            }
        }
        Self { proxies, deployments, redirect_hosts }
    }

    /// The proxy whose token it is
    pub(crate) fn bearer(&self, token: &ProxyToken) -> Option<&Proxy> {
        self.proxies.iter().find(|proxy| proxy.bears(token))
    }

    /// Whether the URL is on the very host of a proxy
    pub(crate) fn is_proxy(&self, url: &HttpUrl) -> bool {
        self.deployments.iter().any(|deployment| {
            deployment.url.host() == url.host()
                && deployment.url.effective_port()
                    == url.clone().with_scheme(deployment.url.scheme()).effective_port()
        })
    }

    pub(crate) const fn redirect_hosts(&self) -> &RedirectHosts {
        &self.redirect_hosts
    }
}

/// Where apps are reached: known from the configuration, and from the proxies that are
/// registered now, give or take [`MAX_AGE`]
#[derive(Debug)]
pub(crate) struct Deployments {
    pub(crate) primary: Arc<Deployment>,
    cookies: Cookies,
    registered: ArcSwapOption<Registered>,
    /// When the last fetch began, well or badly
    fetched: Mutex<Option<Instant>>,
    fetching: tokio::sync::Mutex<()>,
}

impl Deployments {
    pub(crate) fn new(primary: Deployment, cookies: Cookies) -> Self {
        Self {
            primary: Arc::new(primary),
            cookies,
            registered: ArcSwapOption::empty(),
            fetched: Mutex::new(None),
            fetching: tokio::sync::Mutex::new(()),
        }
    }

    /// The place a host belongs to, and what it means there
    ///
    /// The dashboard's own hosts cost no question.
    ///
    /// # Errors
    ///
    /// If the host is none of those and the proxies were never known.
    pub(crate) async fn find<S: Proxies>(
        &self,
        store: &S,
        host: &str,
    ) -> Result<Option<(Arc<Deployment>, HostMeaning)>, S::Error> {
        let own = match self.primary.meaning(host) {
            // A label that names no app may be the host of a proxy.
            own @ (None | Some(HostMeaning::Malformed(_))) => own,
            Some(meaning) => return Ok(Some((Arc::clone(&self.primary), meaning))),
        };
        let registered = self.registered(store).await?;
        let proxied = registered
            .deployments
            .iter()
            .find_map(|deployment| Some((Arc::clone(deployment), deployment.meaning(host)?)));
        Ok(proxied.or_else(|| Some((Arc::clone(&self.primary), own?))))
    }

    /// The proxies that are registered
    ///
    /// One fetch is under way at most. While it is, or if it fails, the ones known before
    /// are the answer.
    ///
    /// # Errors
    ///
    /// If it fails and none were ever known.
    pub(crate) async fn registered<S: Proxies>(
        &self,
        store: &S,
    ) -> Result<Arc<Registered>, S::Error> {
        let known = self.registered.load_full();
        let _fetching = match (&known, self.fetching.try_lock()) {
            (Some(known), _) if !self.is_due() => return Ok(Arc::clone(known)),
            (Some(known), Err(_)) => return Ok(Arc::clone(known)),
            (_, Ok(fetching)) => fetching,
            (None, Err(_)) => {
                let fetching = self.fetching.lock().await;
                if let Some(known) = self.registered.load_full() {
                    return Ok(known);
                }
                fetching
            }
        };
        *self.fetched.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        match store.proxies().await {
            Ok(proxies) => {
                let registered = Arc::new(Registered::new(proxies, &self.primary, &self.cookies));
                self.registered.store(Some(Arc::clone(&registered)));
                Ok(registered)
            }
            Err(error) => known.ok_or(error),
        }
    }

    fn is_due(&self) -> bool {
        let fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.is_none_or(|at| at.elapsed() >= MAX_AGE)
    }
}

/// How old the list of proxies may be
const MAX_AGE: Duration = Duration::from_secs(10);
