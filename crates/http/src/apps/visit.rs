use std::sync::Arc;

use app_authz::address::{AppName, HostPattern, HttpUrl, encode_path};
use app_authz::app::{AccessMethod, UncheckedRequest};
use app_authz::credential::{SessionToken, Source};
use app_authz::token::{PresentedTokens, SIGNED_TOKEN_PARAMETER};
use http::header::HeaderMap;

use super::deployments::Deployment;
use super::origin::Page;
use super::path_name::name;
use super::session::carried;
use crate::error::Rejection;

/// A request for an app, as read from its host and path
pub(crate) struct Visit<'a> {
    pub(crate) deployment: Arc<Deployment>,
    /// The visitor's own host and port, under the scheme of the deployment
    pub(crate) at: HttpUrl,
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
    /// The visit to an app whose name is the first label of the host, and the app it names
    pub(crate) fn subdomain(
        (deployment, at): (Arc<Deployment>, HttpUrl),
        name: AppName,
        path: &'a str,
        query: &'a str,
    ) -> (Self, UncheckedRequest) {
        let method = AccessMethod::Subdomain;
        let app_path = path;
        (Self { deployment, at, method, path, app_path, query, page: Page::Foreign }, name.into())
    }

    /// The visit to the app or the terminal that the path names, and its request
    ///
    /// Names are what they decode to, and the base path is as a browser writes it, since it
    /// becomes the path of a cookie.
    ///
    /// # Errors
    ///
    /// [`Rejection::NoApp`].
    pub(crate) fn path(
        (deployment, at): (Arc<Deployment>, HttpUrl),
        path: &'a str,
        query: &'a str,
    ) -> Result<(Self, UncheckedRequest), Rejection> {
        if let Some(agent) = terminal_agent(path) {
            let method = AccessMethod::Terminal;
            let request = UncheckedRequest {
                access_method: method.as_str().to_owned(),
                base_path: path.to_owned(),
                agent_name_or_id: agent.to_owned(),
                ..UncheckedRequest::default()
            };
            let app_path = "/";
            let page = Page::Foreign;
            return Ok((Self { deployment, at, method, path, app_path, query, page }, request));
        }
        let named = path.strip_prefix("/@").or_else(|| path.strip_prefix("/%40"));
        let mut parts = named.ok_or(Rejection::NoApp)?.splitn(4, '/');
        let (Some(user), Some(workspace), Some("apps"), Some(rest)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Rejection::NoApp);
        };
        let (slug, app_path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let [Some(user), Some(workspace), Some(slug)] = [user, workspace, slug].map(name) else {
            return Err(Rejection::NoApp);
        };
        let method = AccessMethod::Path;
        let folder = path.strip_suffix(app_path).unwrap_or(path);
        let request = UncheckedRequest {
            access_method: method.as_str().to_owned(),
            base_path: format!("{}/", encode_path(folder)),
            username_or_id: user,
            workspace_and_agent: workspace,
            app_slug_or_port: slug,
            ..UncheckedRequest::default()
        };
        Ok((Self { deployment, at, method, path, app_path, query, page: Page::Foreign }, request))
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

    /// The address of a path on the visitor's own host
    ///
    /// Some proxies resolve a relative address in the answer to a check against the server that
    /// they checked with.
    pub(crate) fn absolute(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.at.origin())
    }

    /// Path and query as they were requested
    pub(crate) fn path_and_query(&self) -> String {
        with_query(self.path, self.query)
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

/// The agent whose terminal the path leads to
pub(crate) fn terminal_agent(path: &str) -> Option<&str> {
    let agent = path.strip_prefix("/api/v2/workspaceagents/")?.strip_suffix("/pty")?;
    (!agent.is_empty() && !agent.contains('/')).then_some(agent)
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
