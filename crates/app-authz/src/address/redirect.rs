use crate::Error;
use crate::address::{HostPattern, HttpUrl, encode_query_value};
use crate::app::{AccessMethod, Target};

/// Where a visitor who is not signed in is sent
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignIn {
    /// Nowhere: a terminal's connection cannot follow
    NotFound,
    /// To the login page of the dashboard, whose cookies the app will see
    Login,
    /// To the dashboard, which hands the app's own host a credential; this is the
    /// address to come back to, for [`auth_redirect`]
    AuthRedirect(HttpUrl),
}

/// What a visitor asked of an app, and where apps live
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The URL of the dashboard
    pub dashboard: &'a HttpUrl,
    /// The base of path apps: the dashboard's, or a proxy's
    pub path_app_base: &'a HttpUrl,
    /// The pattern of app hosts, where there are any; used as it is, without the port of
    /// the base
    pub app_hosts: Option<&'a HostPattern>,
    /// The host and port that the visitor asked for, under the scheme of the deployment,
    /// where they are known to be the deployment's; the visitor comes back to them
    pub visited: Option<&'a HttpUrl>,
    /// The raw path within the app
    pub app_path: &'a str,
    /// The raw query
    pub app_query: &'a str,
}

impl Envelope<'_> {
    /// Where to send a visitor whom [`decide`](crate::decide) refused as
    /// [`NotSignedIn`](crate::app::Reason::NotSignedIn)
    ///
    /// # Errors
    ///
    /// [`Error::NoAppHosts`] for a subdomain without a pattern, and
    /// [`Error::InvalidUrl`] if the address would climb out of the app.
    pub fn sign_in(&self, target: &Target<'_>) -> Result<SignIn, Error> {
        let request = &target.request;
        if request.method() == AccessMethod::Terminal {
            return Ok(SignIn::NotFound);
        }
        if request.method() == AccessMethod::Path && self.is_on_dashboard() {
            return Ok(SignIn::Login);
        }
        Ok(SignIn::AuthRedirect(self.app_url(self.base_url(target)?, target)?))
    }

    /// Whether path apps are on the dashboard's very host, whatever scheme a proxy calls
    /// it by
    fn is_on_dashboard(&self) -> bool {
        let base = self.path_app_base;
        let port = base.clone().with_scheme(self.dashboard.scheme()).effective_port();
        base.host() == self.dashboard.host() && port == self.dashboard.effective_port()
    }

    /// The URL below which the requested app lives
    fn base_url(&self, target: &Target<'_>) -> Result<HttpUrl, Error> {
        let request = target.request;
        let base = match (request.method(), self.visited) {
            (_, Some(visited)) => visited.clone(),
            (AccessMethod::Subdomain, None) => {
                let hosts = self.app_hosts.ok_or(Error::NoAppHosts)?;
                let host = hosts.host_of(&request.host_name(&target.agent.name));
                self.path_app_base.clone().with_authority(&host)?
            }
            (AccessMethod::Path | AccessMethod::Terminal, None) => self.path_app_base.clone(),
        };
        base.with_path(request.base_path(), None)
    }

    /// The URL the visitor asked for; the app's own query stands in for none
    fn app_url(&self, base: HttpUrl, target: &Target<'_>) -> Result<HttpUrl, Error> {
        let folder = base.path().trim_end_matches('/');
        let path = format!("{folder}/{}", self.app_path.trim_start_matches('/'));
        let app = HttpUrl::of_app(&target.url).ok();
        let default = app.as_ref().and_then(HttpUrl::query).unwrap_or_default();
        let query = if self.app_query.is_empty() { default } else { self.app_query };
        base.with_path(&path, Some(query))
    }
}

/// The address on the dashboard that sends a visitor back to `back` with a credential
///
/// # Errors
///
/// None for a dashboard at the root of its host.
pub fn auth_redirect(dashboard: &HttpUrl, back: &HttpUrl) -> Result<HttpUrl, Error> {
    let query = format!("redirect_uri={}", encode_query_value(&back.to_string()));
    dashboard.clone().with_path("/api/v2/applications/auth-redirect", Some(&query))
}

/// The address of the login page, which says `message` and then leads back to `path`
///
/// # Errors
///
/// None for a dashboard at the root of its host.
pub fn login(dashboard: &HttpUrl, message: &str, path: &str) -> Result<HttpUrl, Error> {
    let (message, path) = (encode_query_value(message), encode_query_value(path));
    dashboard.clone().with_path("/login", Some(&format!("message={message}&redirect={path}")))
}

/// The hosts that may be handed a credential: a proxy's, or those of apps
///
/// Kept in memory from configuration and the registered proxies; a request never adds
/// to them.
#[derive(Clone, Debug, Default)]
pub struct RedirectHosts {
    deployments: Vec<Deployment>,
}

#[derive(Clone, Debug)]
struct Deployment {
    access_url: HttpUrl,
    app_hosts: Option<HostPattern>,
    /// The dashboard's own host is never handed a credential: it has one
    is_primary: bool,
}

impl RedirectHosts {
    /// The app hosts of the dashboard's own deployment
    #[must_use]
    pub fn new(access_url: HttpUrl, app_hosts: Option<HostPattern>) -> Self {
        Self { deployments: vec![Deployment { access_url, app_hosts, is_primary: true }] }
    }

    /// The same, with the host and the app hosts of a registered proxy
    #[must_use]
    pub fn with_proxy(mut self, access_url: HttpUrl, app_hosts: Option<HostPattern>) -> Self {
        self.deployments.push(Deployment { access_url, app_hosts, is_primary: false });
        self
    }

    /// Takes an address a visitor asks to be sent to, if its host is one of these
    ///
    /// The scheme becomes that of the deployment. Hosts are compared whole and without case,
    /// and wildcards stand for one label. A proxy's own host must be on the port of its URL,
    /// and an app's on a port of its pattern ([`HostPattern::has_port`]).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUrl`] if the text is none, [`Error::ForeignHost`] if the host is
    /// somebody else's.
    pub fn check(&self, uri: &str) -> Result<HttpUrl, Error> {
        let uri: HttpUrl = uri.parse()?;
        // Not even if it is one of the hosts of a proxy's pattern.
        let is_dashboards = self.deployments.iter().any(|d| d.is_primary && d.is_at(&uri));
        let of = |deployment: &&Deployment| deployment.serves(&uri);
        match self.deployments.iter().find(of) {
            Some(deployment) if !is_dashboards => {
                Ok(uri.with_scheme(deployment.access_url.scheme()))
            }
            _ => Err(Error::ForeignHost(uri.authority())),
        }
    }
}

impl Deployment {
    fn serves(&self, uri: &HttpUrl) -> bool {
        let access = &self.access_url;
        if uri.host() == access.host() {
            return !self.is_primary && self.is_at(uri);
        }
        self.app_hosts.as_ref().is_some_and(|hosts| {
            hosts.capture(uri.host()).is_some() && hosts.has_port(self.port_of(uri), access)
        })
    }

    /// Whether it is on the very host of the deployment
    fn is_at(&self, uri: &HttpUrl) -> bool {
        uri.host() == self.access_url.host()
            && self.port_of(uri) == self.access_url.effective_port()
    }

    /// The scheme will be the deployment's, and so is what a missing port means
    fn port_of(&self, uri: &HttpUrl) -> u16 {
        uri.clone().with_scheme(self.access_url.scheme()).effective_port()
    }
}
