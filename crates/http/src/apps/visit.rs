use std::sync::Arc;

use app_authz::address::{HostPattern, HttpUrl};
use app_authz::app::{AccessMethod, UncheckedRequest, terminal_agent};
use app_authz::credential::{SessionToken, Source};
use app_authz::token::{PresentedTokens, SIGNED_TOKEN_PARAMETER};
use http::header::HeaderMap;

use super::deployments::Deployment;
use super::origin::Page;
use super::session::carried;
use crate::error::Rejection;

/// A request for an app, as read from its host and path
pub(crate) struct Visit<'a> {
    pub(crate) deployment: Arc<Deployment>,
    /// The visitor's own host, as the request has it
    host: &'a str,
    pub(crate) method: AccessMethod,
    /// The raw path as it was requested
    pub(crate) path: &'a str,
    /// The raw path within the app; empty if the path ends before its first slash
    pub(crate) app_path: &'a str,
    /// The raw query
    pub(crate) query: &'a str,
    /// The page that makes the request; the least trusted until it is looked at
    pub(crate) page: Page,
}

impl<'a> Visit<'a> {
    /// The visit to the app whose name is the first label of the host
    pub(crate) fn subdomain(
        (deployment, host): (Arc<Deployment>, &'a str),
        path: &'a str,
        query: &'a str,
    ) -> Self {
        let method = AccessMethod::Subdomain;
        Self { deployment, host, method, path, app_path: path, query, page: Page::Foreign }
    }

    /// The visit to the app or the terminal that the path names, and its request
    ///
    /// # Errors
    ///
    /// [`Rejection::NoApp`].
    pub(crate) fn path(
        (deployment, host): (Arc<Deployment>, &'a str),
        path: &'a str,
        query: &'a str,
    ) -> Result<(Self, UncheckedRequest), Rejection> {
        let (request, app_path) = UncheckedRequest::of_path(path).ok_or(Rejection::NoApp)?;
        let is_terminal = request.access_method == AccessMethod::Terminal.as_str();
        let method = if is_terminal { AccessMethod::Terminal } else { AccessMethod::Path };
        Ok((Self { deployment, host, method, path, app_path, query, page: Page::Foreign }, request))
    }

    /// The possible app tokens of the request
    pub(crate) fn app_tokens<'b>(
        &self,
        cookies: &[(&'b str, &'b str)],
        parameters: &'b [(String, String)],
    ) -> PresentedTokens<'b> {
        let name = self.deployment.cookie_names.signed_app_token(self.method);
        let signed = cookies.iter().filter(|(known, _)| *known == name);
        PresentedTokens {
            query: parameter(parameters, SIGNED_TOKEN_PARAMETER).filter(|token| !token.is_empty()),
            cookies: signed.map(|(_, value)| *value).collect(),
        }
    }

    /// The possible session tokens of the request, in order of preference
    pub(crate) fn session_tokens(
        &self,
        headers: &HeaderMap,
        cookies: Vec<(&str, &str)>,
        parameters: &[(String, String)],
    ) -> Vec<(Source, SessionToken)> {
        let names = &self.deployment.cookie_names;
        carried(headers, cookies, parameters).app_session_tokens(names, self.method)
    }

    /// The visitor's own host and port, under the scheme of the deployment
    ///
    /// It is made when it is needed: most visits with a good app token do without.
    pub(crate) fn at(&self) -> HttpUrl {
        self.deployment.address(self.host)
    }

    /// The address of a path on the visitor's own host
    ///
    /// Some proxies resolve a relative address in the answer to a check against the server that
    /// they checked with.
    pub(crate) fn absolute(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.at().origin())
    }

    /// Whether a visitor signs in at the dashboard, whose own session then opens the app
    pub(crate) fn signs_in_at_dashboard(&self) -> bool {
        self.method != AccessMethod::Subdomain && self.deployment.primary
    }

    /// The visitor's path before the app's own; empty on a host of the app's own
    pub(crate) fn folder(&self) -> &'a str {
        match self.method {
            AccessMethod::Path => self.path.strip_suffix(self.app_path).unwrap_or(self.path),
            AccessMethod::Subdomain | AccessMethod::Terminal => "",
        }
    }

    /// The domain for cookies that all app hosts share
    pub(crate) fn cookie_domain(&self) -> Option<&str> {
        match self.method {
            AccessMethod::Subdomain => self.deployment.app_hosts.as_ref().map(HostPattern::domain),
            AccessMethod::Path | AccessMethod::Terminal => None,
        }
    }
}

/// The first parameter of that name
pub(crate) fn parameter<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
}

pub(crate) fn with_query(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// Whether the path, as it was written, is that of an app or a terminal, whatever it names
///
/// `%2540` is an `@` that was encoded twice, which some servers decode twice.
pub(super) fn is_of_app(path: &str) -> bool {
    let named = ["/@", "/%40", "/%2540"].iter().find_map(|start| path.strip_prefix(start));
    let is_app = named.is_some_and(|named| {
        let mut parts = named.splitn(4, '/');
        let names = [parts.next(), parts.next()];
        names.iter().all(|name| name.is_some_and(|name| !name.is_empty()))
            && parts.next() == Some("apps")
            && parts.next().is_some()
    });
    is_app || terminal_agent(path).is_some()
}
