use std::sync::Arc;

use app_authz::address::{AppName, HttpUrl};
use app_authz::app::{AccessMethod, UncheckedRequest};
use app_authz::credential::{Carried, SessionToken};
use app_authz::token::{PresentedTokens, SIGNED_TOKEN_PARAMETER};
use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName};

use super::deployments::Deployment;
use crate::error::Refused;

/// A request for an app, as its host and path say
pub(crate) struct Visit<'a> {
    pub(crate) deployment: Arc<Deployment>,
    /// The visitor's own host and port, under the scheme of the deployment
    pub(crate) at: HttpUrl,
    pub(crate) method: AccessMethod,
    pub(crate) request: UncheckedRequest,
    /// The raw path as it was asked for
    pub(crate) path: &'a str,
    /// The raw path within the app; empty where not even its first slash was asked for
    pub(crate) app_path: &'a str,
    /// The raw query
    pub(crate) query: &'a str,
}

impl<'a> Visit<'a> {
    /// The app whose name is the first label of the host
    pub(crate) fn subdomain(
        (deployment, at): (Arc<Deployment>, HttpUrl),
        name: AppName,
        path: &'a str,
        query: &'a str,
    ) -> Self {
        let (method, request) = (AccessMethod::Subdomain, UncheckedRequest::from(name));
        Self { deployment, at, method, request, path, app_path: path, query }
    }

    /// The app or terminal that the path names
    ///
    /// # Errors
    ///
    /// [`Refused::Me`] and [`Refused::NoApp`].
    pub(crate) fn path(
        (deployment, at): (Arc<Deployment>, HttpUrl),
        path: &'a str,
        query: &'a str,
    ) -> Result<Self, Refused> {
        if let Some(agent) = terminal_agent(path) {
            let request = UncheckedRequest {
                access_method: AccessMethod::Terminal.as_str().to_owned(),
                base_path: path.to_owned(),
                agent_name_or_id: agent.to_owned(),
                ..UncheckedRequest::default()
            };
            return Ok(Self {
                deployment,
                at,
                method: AccessMethod::Terminal,
                request,
                path,
                app_path: "/",
                query,
            });
        }
        let named = path.strip_prefix("/@").or_else(|| path.strip_prefix("/%40"));
        let mut parts = named.ok_or(Refused::NoApp)?.splitn(4, '/');
        let (Some(user), Some(workspace), Some("apps"), Some(rest)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refused::NoApp);
        };
        let (slug, app_path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if [user, workspace, slug].contains(&"") {
            return Err(Refused::NoApp);
        }
        if user == "me" {
            return Err(Refused::Me);
        }
        let request = UncheckedRequest {
            access_method: AccessMethod::Path.as_str().to_owned(),
            base_path: format!("{}/", &path[..path.len() - app_path.len()]),
            username_or_id: user.to_owned(),
            workspace_and_agent: workspace.to_owned(),
            app_slug_or_port: slug.to_owned(),
            ..UncheckedRequest::default()
        };
        Ok(Self { deployment, at, method: AccessMethod::Path, request, path, app_path, query })
    }

    /// What the request carries that may be an app token
    pub(crate) fn app_tokens<'b>(
        &self,
        cookies: &[(&'b str, &'b str)],
        parameters: &'b [(String, String)],
    ) -> PresentedTokens<'b> {
        let name = self.deployment.cookie_names.signed_app_token();
        let signed = cookies.iter().filter(|(known, _)| *known == name);
        PresentedTokens {
            query: parameter(parameters, SIGNED_TOKEN_PARAMETER).filter(|token| !token.is_empty()),
            cookies: signed.map(|(_, value)| *value).collect(),
        }
    }

    /// What the request carries that may be a session token
    pub(crate) fn session_tokens(
        &self,
        headers: &HeaderMap,
        cookies: Vec<(&str, &str)>,
        parameters: &[(String, String)],
    ) -> Vec<SessionToken> {
        let names = &self.deployment.cookie_names;
        let tokens = carried(headers, cookies, parameters).app_session_tokens(names, self.method);
        tokens.into_iter().map(|(_, token)| token).collect()
    }

    /// The address of a path on the visitor's own host
    ///
    /// Some proxies take a relative address in the answer to a check for one of the server
    /// that they checked with.
    pub(crate) fn absolute(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.at.origin())
    }

    /// Path and query as they were asked for
    pub(crate) fn path_and_query(&self) -> String {
        with_query(self.path, self.query)
    }
}

/// All that may hold a session token
pub(crate) fn carried<'a>(
    headers: &'a HeaderMap,
    cookies: Vec<(&'a str, &'a str)>,
    parameters: &'a [(String, String)],
) -> Carried<'a> {
    let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    Carried {
        cookies,
        query: parameters.iter().map(|(name, value)| (&**name, &**value)).collect(),
        session_header: header(SESSION_TOKEN),
        authorization: header(AUTHORIZATION),
    }
}

/// The first parameter of that name
pub(crate) fn parameter<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
}

pub(crate) fn with_query(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// The agent whose terminal the path is
pub(crate) fn terminal_agent(path: &str) -> Option<&str> {
    let agent = path.strip_prefix("/api/v2/workspaceagents/")?.strip_suffix("/pty")?;
    (!agent.is_empty() && !agent.contains('/')).then_some(agent)
}

/// Whether a page is an answer that whoever asks can show
///
/// Whoever does not say what it takes is taken for a browser, as the control plane does.
/// Of weights only that of nothing counts (RFC 9110, section 12.4.2).
pub(crate) fn accepts_html(headers: &HeaderMap) -> bool {
    let mut said = false;
    for line in headers.get_all(ACCEPT) {
        for range in line.as_bytes().split(|byte| *byte == b',') {
            let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let media = parts.next().unwrap_or_default();
            said |= !media.is_empty();
            let html = [&b"*/*"[..], b"text/*", b"text/html"];
            if html.iter().any(|m| media.eq_ignore_ascii_case(m))
                && !parts.any(is_weight_of_nothing)
            {
                return true;
            }
        }
    }
    !said
}

/// Whether it is `q=0`, with however many zeros behind the point
fn is_weight_of_nothing(parameter: &[u8]) -> bool {
    let weight = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="));
    weight.is_some_and(|w| w.starts_with(b"0") && w.iter().all(|b| matches!(b, b'0' | b'.')))
}

const SESSION_TOKEN: HeaderName = HeaderName::from_static("coder-session-token");
