use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use app_authz::address::{HostMeaning, HostPattern, HttpUrl, RedirectHosts};
use app_authz::credential::CookieNames;
use app_authz::proxy::{Proxies, Proxy, ProxyToken};
use arc_swap::ArcSwapOption;
use tracing::warn;

use super::cookies::Cookies;
use super::recent_hosts::RecentHosts;

/// The hosts under which apps are reached: the dashboard's own, or those of a registered proxy
#[derive(Debug)]
pub(crate) struct Deployment {
    /// The URL under which path apps are reached
    pub(crate) url: HttpUrl,
    /// The pattern of app hosts
    pub(crate) app_hosts: Option<HostPattern>,
    pub(crate) cookie_names: CookieNames,
    /// Whether this is the dashboard's own deployment
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

    /// What the host means here; `None` if it is not a host of this deployment
    fn meaning(&self, host: &str) -> Option<HostMeaning> {
        if self.url.is_on(host) {
            return Some(HostMeaning::Dashboard);
        }
        match HostMeaning::of(host, self.app_hosts.as_ref(), []) {
            HostMeaning::Dashboard => None,
            meaning => Some(meaning),
        }
    }

    /// The address that the visitor used to reach `host`: that host and port, under the scheme of
    /// this deployment
    ///
    /// Some proxies leave out the port. It is then taken from the URL, or from the pattern if the
    /// host is an app's. If that has no port either, neither does the address.
    pub(crate) fn address(&self, host: &str) -> HttpUrl {
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
        // Every host of this deployment can be part of a URL.
        self.url.clone().with_authority(&authority).unwrap_or_else(|_| self.url.clone())
    }

    /// Whether the host matches the pattern of app hosts
    pub(crate) fn has_app_host(&self, host: &str) -> bool {
        !matches!(self.meaning(host), None | Some(HostMeaning::Dashboard))
    }
}

/// The registered proxies, as of the last fetch
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
                // The proxy has not registered a URL yet.
                None if proxy.url.is_empty() => {}
                None => warn!(proxy = proxy.name, "the proxy's URL or wildcard is not usable"),
            }
        }
        Self { proxies, deployments, redirect_hosts }
    }

    /// The proxy to which the token belongs
    pub(crate) fn bearer(&self, token: &ProxyToken) -> Option<&Proxy> {
        self.proxies.iter().find(|proxy| proxy.bears(token))
    }

    /// Whether the URL has the host and port of a proxy
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

/// Where apps are reached: the configured deployment, and the proxies that were registered at
/// most [`MAX_AGE`] ago
#[derive(Debug)]
pub(crate) struct Deployments {
    pub(crate) primary: Arc<Deployment>,
    /// Hosts of the apps of `primary`
    pub(super) recent_hosts: RecentHosts,
    cookies: Cookies,
    registered: ArcSwapOption<Registered>,
    /// When the last fetch began, whether or not it succeeded
    fetched: Mutex<Option<Instant>>,
    fetching: tokio::sync::Mutex<()>,
}

impl Deployments {
    pub(crate) fn new(primary: Deployment, cookies: Cookies) -> Self {
        Self {
            primary: Arc::new(primary),
            recent_hosts: RecentHosts::default(),
            cookies,
            registered: ArcSwapOption::empty(),
            fetched: Mutex::new(None),
            fetching: tokio::sync::Mutex::new(()),
        }
    }

    /// The deployment that a host belongs to, and what the host means there
    ///
    /// The dashboard's own hosts are answered without the store.
    ///
    /// # Errors
    ///
    /// Fails if the host is not the dashboard's and no list of proxies was ever fetched.
    pub(crate) async fn find<S: Proxies>(
        &self,
        store: &S,
        host: &str,
    ) -> Result<Option<(Arc<Deployment>, HostMeaning)>, S::Error> {
        let own = match self.primary.meaning(host) {
            // A label that does not name an app may be the host of a proxy.
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
    /// At most one fetch is under way. Until it ends, or if it fails, the previous list is
    /// returned.
    ///
    /// # Errors
    ///
    /// Fails if the fetch fails and no list was ever fetched.
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
