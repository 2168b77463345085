//! App tokens for proxies: what a visitor may open, as a proxy elsewhere asks for it

use std::sync::Arc;

use app_audit::parse_ip;
use app_authz::AppRequest;
use app_authz::address::HttpUrl;
use app_authz::app::{AccessMethod, UncheckedRequest, terminal_agent};
use app_authz::credential::{SessionDenial, Source};
use app_authz::proxy::{PROXY_TOKEN_HEADER, ProxyToken};
use http::header::{HeaderMap, HeaderValue, ORIGIN, UPGRADE};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use crate::apps::{
    AccessAttempt, AppService, AppsConfig, Page, Refusal, ReturnTo, SEC_FETCH_SITE, Siblings,
    issue, presented_sessions, same_origin, user_agent, with_query,
};
use crate::body::{Object, or_default, read_json};
use crate::context::{Body, Context};
use crate::error::{AccessError, Error, Rejection};
use crate::ports::AppPorts;
use crate::purpose::Purpose;
use crate::reply::{Reply, Response, json};
use crate::request_facts::RequestFacts;

/// A proxy's request for an app token, on behalf of its visitor
#[derive(Default, Deserialize)]
#[serde(default)]
struct IssueRequest {
    #[serde(deserialize_with = "or_default")]
    app_request: Object<UncheckedRequest>,
    #[serde(deserialize_with = "or_default")]
    path_app_base_url: String,
    #[serde(deserialize_with = "or_default")]
    app_hostname: String,
    #[serde(deserialize_with = "or_default")]
    app_path: String,
    #[serde(deserialize_with = "or_default")]
    app_query: String,
    #[serde(deserialize_with = "or_default")]
    session_token: String,
    #[serde(deserialize_with = "or_default")]
    client_ip: String,
    #[serde(deserialize_with = "or_default")]
    user_agent: String,
    /// The method of the visitor's request, and those of its headers that say which page makes it;
    /// empty if it has none, or if the proxy does not say
    #[serde(deserialize_with = "or_default")]
    method: String,
    #[serde(deserialize_with = "or_default")]
    origin: String,
    #[serde(deserialize_with = "or_default")]
    sec_fetch_site: String,
    #[serde(deserialize_with = "or_default")]
    upgrade: String,
}

impl IssueRequest {
    /// Whether the request is one that the page which makes it may not make
    fn is_foreign(&self, config: &AppsConfig, request: &AppRequest) -> bool {
        let mut headers = HeaderMap::new();
        let stated = [
            (ORIGIN, &self.origin),
            (SEC_FETCH_SITE, &self.sec_fetch_site),
            (UPGRADE, &self.upgrade),
        ];
        for (name, value) in stated.into_iter().filter(|(_, value)| !value.is_empty()) {
            // What cannot be a header does not name a page either.
            let value = HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("null"));
            headers.insert(name, value);
        }
        let base = self.path_app_base_url.parse().ok();
        let page = match request.method() {
            AccessMethod::Terminal => Page::of_terminal(base.as_ref(), config, &headers),
            AccessMethod::Path => Page::of(base.as_ref(), None, &headers),
            // The host of the app itself is one of its owner's.
            AccessMethod::Subdomain => {
                let app_hosts = self.app_hostname.parse().ok();
                let siblings = base.as_ref().zip(app_hosts.as_ref());
                let owner = request.user();
                let siblings =
                    siblings.map(|(base, app_hosts)| Siblings { base, app_hosts, owner });
                Page::of(None, siblings, &headers)
            }
        };
        let method = if self.method.is_empty() { Method::GET.as_str() } else { &self.method };
        page.is_refused(method, &headers)
    }
}

#[derive(Serialize)]
struct Signed<'a> {
    signed_token_str: &'a str,
}

/// `POST /api/v2/workspaceproxies/me/issue-signed-app-token`
///
/// Any answer but a token is the answer to the visitor, and the proxy relays it unchanged.
pub(crate) async fn issue_for_proxy<S: AppPorts>(
    apps: &Arc<AppService<S>>,
    cx: &Context<'_>,
    body: Body,
) -> Result<Response, Error> {
    authenticate_proxy(apps, cx).await?;
    // The proxy asks for a visitor, and says only whether the visitor is to be shown pages.
    let purpose = match Purpose::of(Method::GET.as_str(), cx.headers()).is_shown_pages() {
        true => Purpose::Navigation,
        false => Purpose::Program,
    };
    let mut asked: IssueRequest = read_json(cx, body, apps.bounds).await?;
    let Object(request) = std::mem::take(&mut asked.app_request);
    let base = request.base_path.trim_end_matches('/');
    let session = asked.session_token.parse().ok();
    let path = format!("{base}/{}", asked.app_path.trim_start_matches('/'));
    let issued = match checked(request, &cx.facts) {
        Ok(request) => {
            // The visitor's, for whom the proxy asks.
            let client = parse_ip(&asked.client_ip);
            let is_foreign = asked.is_foreign(&apps.config, &request);
            let attempt = AccessAttempt {
                tokens: session.map(|token| (Source::SessionHeader, token)).into_iter().collect(),
                return_to: ReturnTo::ProxySupplied {
                    path_app_base: asked.path_app_base_url,
                    app_hosts: asked.app_hostname,
                },
                path_and_query: with_query(&path, &asked.app_query),
                request,
                app_path: asked.app_path,
                app_query: asked.app_query,
                ip: client,
                user_agent: asked.user_agent.into_bytes(),
                purpose,
                sign_in: None,
                returning: None,
                preflight: None,
                is_foreign,
                now: cx.now,
                facts: RequestFacts { client, ..cx.facts },
            };
            issue(apps, attempt).await
        }
        Err(rejection) => Err(rejection.into()),
    };
    Ok(match issued {
        Ok(issued) => json(StatusCode::CREATED, &Signed { signed_token_str: issued.reveal() }),
        // A proxy reads the first as the control plane's, and answers the second itself with JSON.
        Err(Refusal { rejection, .. })
            if matches!(*rejection, Rejection::Inactive(_) | Rejection::ReservedPort) =>
        {
            Reply::json(&rejection.problem()).into_response()
        }
        Err(refusal) => refusal.into_reply(purpose).into_response(),
    })
}

/// Checks the request of a proxy; a malformed one is logged and rejected
fn checked(request: UncheckedRequest, facts: &RequestFacts) -> Result<AppRequest, Rejection> {
    AppRequest::try_from(request).map_err(|error| {
        let rejection = Rejection::InvalidRequest(error);
        rejection.log(facts);
        rejection
    })
}

/// Verifies that a registered proxy makes the request
pub(super) async fn authenticate_proxy<S: AppPorts>(
    apps: &AppService<S>,
    cx: &Context<'_>,
) -> Result<(), AccessError> {
    let token = cx.headers().get(PROXY_TOKEN_HEADER).and_then(|value| value.to_str().ok());
    let token: ProxyToken =
        token.and_then(|text| text.parse().ok()).ok_or(AccessError::NotProxy)?;
    let registered = apps.deployments.registered(&*apps.store).await;
    let registered = registered.map_err(AccessError::store)?;
    registered.bearer(&token).map(drop).ok_or(AccessError::NotProxy)
}

#[derive(Deserialize)]
struct Terminal {
    #[serde(default)]
    url: String,
    #[serde(default, rename = "agentID")]
    agent_id: String,
}

#[derive(Serialize)]
struct SignedTerminal<'a> {
    signed_token: &'a str,
}

/// `POST /api/v2/applications/reconnecting-pty-signed-token`
///
/// The dashboard's cookies do not reach a proxy's host, and a terminal's connection cannot be
/// redirected, so the dashboard's page asks for a token and puts it into the terminal's URL.
pub(crate) async fn issue_for_terminal<S: AppPorts>(
    apps: &Arc<AppService<S>>,
    cx: &Context<'_>,
    body: Body,
) -> Result<Response, Error> {
    let sessions = presented_sessions(apps, cx).map_err(|_| AccessError::SignedOut(None))?;
    let dashboard = &apps.config.access_url;
    if !sessions.iter().all(|(source, _)| same_origin(cx.headers(), *source, dashboard)) {
        return Err(AccessError::ForeignOrigin.into());
    }
    let terminal: Terminal = read_json(cx, body, apps.bounds).await?;
    let url = terminal_url(&terminal)?;
    let registered = apps.deployments.registered(&*apps.store).await;
    if !registered.map_err(AccessError::store)?.is_proxy(&url) {
        let detail = format!("`{}` is not the host of a workspace proxy.", url.authority());
        return Err(AccessError::invalid("Invalid hostname in URL.", detail).into());
    }

    let request = UncheckedRequest::of_terminal(url.path()).unwrap_or_default();
    let issued = match checked(request, &cx.facts) {
        Ok(request) => {
            let attempt = AccessAttempt {
                request,
                tokens: sessions,
                return_to: ReturnTo::None,
                app_path: String::new(),
                app_query: String::new(),
                path_and_query: String::new(),
                ip: cx.client,
                user_agent: user_agent(cx.headers()),
                purpose: Purpose::Program,
                sign_in: None,
                returning: None,
                preflight: None,
                is_foreign: false,
                now: cx.now,
                facts: cx.facts,
            };
            issue(apps, attempt).await
        }
        // The caller wrote the id.
        Err(_) => {
            let detail = "The agent's id must be a UUID.";
            return Err(AccessError::invalid("Invalid agent ID.", detail).into());
        }
    };
    match issued.map_err(|refusal| *refusal.rejection) {
        Ok(issued) => Ok(json(StatusCode::OK, &SignedTerminal { signed_token: issued.reveal() })),
        // The session is not good.
        Err(Rejection::TerminalSignIn) => Err(AccessError::SignedOut(None).into()),
        Err(Rejection::Inactive(status)) => {
            Err(AccessError::SignedOut(Some(SessionDenial::Inactive(status))).into())
        }
        Err(Rejection::Denied(_) | Rejection::Unresolved(_)) => Err(AccessError::NotFound.into()),
        Err(rejection) => Ok(rejection.into_reply(Purpose::Program).into_response()),
    }
}

/// The address of the agent's terminal, with the scheme that pages of its host have
fn terminal_url(terminal: &Terminal) -> Result<HttpUrl, AccessError> {
    let invalid = |detail: &str| AccessError::invalid("Invalid URL.", detail);
    let (scheme, rest) =
        terminal.url.split_once("://").ok_or_else(|| invalid("It is not an absolute URL."))?;
    let page_scheme = match scheme {
        "ws" => "http",
        "wss" => "https",
        _ => return Err(invalid("Its scheme must be `ws` or `wss`.")),
    };
    let url: HttpUrl =
        format!("{page_scheme}://{rest}").parse().map_err(|_| invalid("It cannot be parsed."))?;
    if terminal_agent(url.path()) != Some(&*terminal.agent_id) {
        let path = "Its path must be `/api/v2/workspaceagents/AGENT/pty`, with the same agent.";
        return Err(invalid(path));
    }
    Ok(url)
}
