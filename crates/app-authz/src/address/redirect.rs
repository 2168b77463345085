use crate::Error;
use crate::address::{HostPattern, HttpUrl, encode_path, encode_query_value};
use crate::app::{AccessMethod, Target};
use crate::token::{NONCE_PARAMETER, Nonce};

/// Where a visitor who is not signed in is sent
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignIn {
    /// Nowhere: the connection of a terminal cannot follow a redirect
    NotFound,
    /// To the login page of the dashboard, whose cookies also reach the app
    Login,
    /// To the dashboard, which gives the app's own host a credential
    ///
    /// The URL is the one to return to, for [`auth_redirect`].
    AuthRedirect(HttpUrl),
}

/// Which page of an app a visitor asked for, and where apps are served
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The URL of the dashboard
    pub dashboard: &'a HttpUrl,
    /// The URL below which apps are reached by path: the dashboard's, or a proxy's
    pub path_app_base: &'a HttpUrl,
    /// The pattern of app hosts, if apps have hosts of their own; used as it is, without the
    /// port of the base
    pub app_hosts: Option<&'a HostPattern>,
    /// Host and port of the request, under the scheme of the deployment; `None` unless the
    /// host is known to belong to the deployment
    ///
    /// The visitor returns to them.
    pub visited: Option<&'a HttpUrl>,
    /// The path within the app, as it is encoded in the request
    pub app_path: &'a str,
    /// The query, as it is encoded in the request
    pub app_query: &'a str,
}

impl Envelope<'_> {
    /// Where to send a visitor whom [`decide`](crate::decide) denied as
    /// [`NotSignedIn`](crate::app::Reason::NotSignedIn)
    ///
    /// # Errors
    ///
    /// [`Error::NoAppHosts`] if the request is for a subdomain and there is neither a pattern
    /// nor a visited host, and [`Error::InvalidUrl`] if the path would leave the app.
    pub fn sign_in(&self, target: &Target<'_>) -> Result<SignIn, Error> {
        let request = target.request();
        if request.method() == AccessMethod::Terminal {
            return Ok(SignIn::NotFound);
        }
        if request.method() == AccessMethod::Path && self.is_on_dashboard() {
            return Ok(SignIn::Login);
        }
        Ok(SignIn::AuthRedirect(self.app_url(self.base_url(target)?, target)?))
    }

    /// Whether path apps are on the host and port of the dashboard, under either scheme
    fn is_on_dashboard(&self) -> bool {
        let base = self.path_app_base;
        let port = base.clone().with_scheme(self.dashboard.scheme()).effective_port();
        base.host() == self.dashboard.host() && port == self.dashboard.effective_port()
    }

    /// The URL below which the requested app is served
    fn base_url(&self, target: &Target<'_>) -> Result<HttpUrl, Error> {
        let request = target.request();
        let base = match (request.method(), self.visited) {
            (_, Some(visited)) => visited.clone(),
            (AccessMethod::Subdomain, None) => {
                let hosts = self.app_hosts.ok_or(Error::NoAppHosts)?;
                let host = hosts.host_of(&request.host_name(&target.agent().name));
                self.path_app_base.clone().with_authority(&host)?
            }
            (AccessMethod::Path | AccessMethod::Terminal, None) => self.path_app_base.clone(),
        };
        base.with_path(&encode_path(request.base_path()), None)
    }

    /// The URL the visitor asked for; without a query, with the default query of the app
    ///
    /// The control plane's proxies get the default query for every path. A visitor of ours gets it
    /// at the root of the app alone, so that any other link leads back to exactly itself.
    fn app_url(&self, base: HttpUrl, target: &Target<'_>) -> Result<HttpUrl, Error> {
        let folder = base.path().trim_end_matches('/');
        let path = format!("{folder}/{}", self.app_path.trim_start_matches('/'));
        let app = HttpUrl::of_app(target.url()).ok();
        let is_root = self.app_path.trim_start_matches('/').is_empty();
        let default = app.as_ref().filter(|_| is_root || self.visited.is_none());
        let default = default.and_then(HttpUrl::query).unwrap_or_default();
        let query = if self.app_query.is_empty() { default } else { self.app_query };
        base.with_path(&path, Some(query))
    }
}

/// The page of the dashboard that sends a visitor back to `back` with a credential
///
/// With `nonce` the credential is for the browser that holds it
/// ([`SealedSession`](crate::token::SealedSession)).
///
/// # Errors
///
/// Never fails for a dashboard at the root of its host.
pub fn auth_redirect(
    dashboard: &HttpUrl,
    back: &HttpUrl,
    nonce: Option<&Nonce>,
) -> Result<HttpUrl, Error> {
    let mut query = format!("redirect_uri={}", encode_query_value(&back.to_string()));
    if let Some(nonce) = nonce {
        query.push_str(&format!("&{NONCE_PARAMETER}={nonce}"));
    }
    dashboard.clone().with_path("/api/v2/applications/auth-redirect", Some(&query))
}

/// The login page of the dashboard, which shows `message` and then returns to `path`
///
/// # Errors
///
/// Never fails for a dashboard at the root of its host.
pub fn login(dashboard: &HttpUrl, message: &str, path: &str) -> Result<HttpUrl, Error> {
    let (message, path) = (encode_query_value(message), encode_query_value(path));
    dashboard.clone().with_path("/login", Some(&format!("message={message}&redirect={path}")))
}

/// The hosts that may be given a credential: those of proxies and those of apps
///
/// Made of configuration and the registered proxies, never of a request.
#[derive(Clone, Debug, Default)]
pub struct RedirectHosts {
    deployments: Vec<Deployment>,
}

#[derive(Clone, Debug)]
struct Deployment {
    access_url: HttpUrl,
    app_hosts: Option<HostPattern>,
    /// Whether it is the dashboard's, whose own host is never given a credential: it has one
    is_primary: bool,
}

impl RedirectHosts {
    /// The app hosts of the dashboard's own deployment
    #[must_use]
    pub fn new(access_url: HttpUrl, app_hosts: Option<HostPattern>) -> Self {
        Self { deployments: vec![Deployment { access_url, app_hosts, is_primary: true }] }
    }

    /// The same hosts, and the host and the app hosts of a registered proxy
    #[must_use]
    pub fn with_proxy(mut self, access_url: HttpUrl, app_hosts: Option<HostPattern>) -> Self {
        self.deployments.push(Deployment { access_url, app_hosts, is_primary: false });
        self
    }

    /// Accepts the URL that a visitor asks to be sent to, if its host is one of these
    ///
    /// The scheme becomes that of the deployment. Hosts are compared whole and without case,
    /// and a wildcard stands for one label. A proxy's own host must be on the port of its URL,
    /// and an app's on a port of its pattern ([`HostPattern::has_port`]).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUrl`] if the text is not a URL, [`Error::ForeignHost`] if the host is
    /// not one of these.
    pub fn check(&self, uri: &str) -> Result<HttpUrl, Error> {
        let uri: HttpUrl = uri.parse()?;
        // The dashboard's host stays refused if it also fits the pattern of a proxy.
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

    /// Whether the URL is on the host and port of the deployment
    fn is_at(&self, uri: &HttpUrl) -> bool {
        uri.host() == self.access_url.host()
            && self.port_of(uri) == self.access_url.effective_port()
    }

    /// The port of the URL; the default is that of the deployment's scheme, which it gets
    fn port_of(&self, uri: &HttpUrl) -> u16 {
        uri.clone().with_scheme(self.access_url.scheme()).effective_port()
    }
}
