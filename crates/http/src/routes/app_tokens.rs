//! App tokens for proxies: what a visitor may open, as a proxy elsewhere asks for it

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use app_audit::parse_ip;
use app_authz::AppRequest;
use app_authz::address::HttpUrl;
use app_authz::app::{AccessMethod, UncheckedRequest};
use app_authz::credential::SessionDenial;
use app_authz::proxy::{PROXY_TOKEN_HEADER, ProxyToken};
use bytes::Bytes;
use http::header::HeaderMap;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use store::Store;
use uuid::Uuid;

use super::body::{Bounds, Object, or_default, read_json};
use super::json;
use crate::apps::{
    Apps, Asking, Whence, accepts_html, carried, cookies, issue, parameters, same_origin,
    terminal_agent, user_agent, with_query,
};
use crate::error::{AccessFailure, Failure, Refused};

/// What a proxy asks for its visitor
#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope {
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
}

#[derive(Serialize)]
struct Signed<'a> {
    signed_token_str: &'a str,
}

/// `POST /api/v2/workspaceproxies/me/issue-signed-app-token`
///
/// Whatever is no token is the answer to the visitor, and the proxy relays it as it is.
pub(crate) async fn issue_for_proxy<S, B>(
    apps: &Arc<Apps<S>>,
    request: Request<B>,
    bounds: Bounds,
    now: SystemTime,
    request_id: Uuid,
) -> Result<Response<Full<Bytes>>, Failure>
where
    S: Store,
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    authenticate_proxy(apps, request.headers()).await?;
    let html = accepts_html(request.headers());
    let envelope: Envelope = read_json(request, bounds).await?;
    let Object(app_request) = envelope.app_request;
    let base = app_request.base_path.trim_end_matches('/');
    let path = format!("{base}/{}", envelope.app_path.trim_start_matches('/'));
    let refused = |refused: Refused| {
        Ok(refused.told(html).into_response(&apps.config.access_url.to_string()))
    };
    let named = match named(app_request, request_id) {
        Ok(named) => named,
        Err(why) => return refused(why),
    };
    let asking = Asking {
        tokens: envelope.session_token.parse().into_iter().collect(),
        whence: Whence::Told {
            path_app_base: envelope.path_app_base_url,
            app_hosts: envelope.app_hostname,
        },
        way_back: with_query(&path, &envelope.app_query),
        request: named,
        app_path: envelope.app_path,
        app_query: envelope.app_query,
        ip: parse_ip(&envelope.client_ip),
        user_agent: envelope.user_agent.into_bytes(),
        html,
        preflight: None,
        now,
        request_id,
    };
    match issue(apps, asking).await {
        Ok(signed) => Ok(json(StatusCode::CREATED, &Signed { signed_token_str: signed.reveal() })),
        Err(why) => refused(why),
    }
}

/// The request, if it is sound
fn named(request: UncheckedRequest, request_id: Uuid) -> Result<AppRequest, Refused> {
    AppRequest::try_from(request).map_err(|error| {
        let refused = Refused::InvalidRequest(error);
        refused.log(request_id);
        refused
    })
}

/// Makes sure that a registered proxy asks
pub(super) async fn authenticate_proxy<S: Store>(
    apps: &Apps<S>,
    headers: &HeaderMap,
) -> Result<(), AccessFailure> {
    let token = headers.get(PROXY_TOKEN_HEADER).and_then(|value| value.to_str().ok());
    let token: ProxyToken =
        token.and_then(|text| text.parse().ok()).ok_or(AccessFailure::NoProxy)?;
    let registered = apps.deployments.registered(&*apps.store).await;
    let registered = registered.map_err(AccessFailure::Store)?;
    registered.bearer(&token).map(drop).ok_or(AccessFailure::NoProxy)
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
/// The dashboard's cookies do not reach a proxy's host, and a terminal's connection
/// cannot be redirected, so the dashboard's page asks for a token to put into its URL.
pub(crate) async fn issue_for_terminal<S, B>(
    apps: &Arc<Apps<S>>,
    request: Request<B>,
    bounds: Bounds,
    client: Option<IpAddr>,
    now: SystemTime,
    request_id: Uuid,
) -> Result<Response<Full<Bytes>>, Failure>
where
    S: Store,
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let parameters = parameters(parts.uri.query().unwrap_or_default());
    let names = &apps.deployments.primary.cookie_names;
    let carried = carried(&parts.headers, cookies(&parts.headers), &parameters);
    let session = carried.session_token(names);
    let Ok(Some((source, session))) = session else {
        return Err(AccessFailure::SignedOut(None).into());
    };
    if !same_origin(&parts.headers, source, &apps.config.access_url) {
        return Err(AccessFailure::ForeignOrigin.into());
    }
    let user_agent = user_agent(&parts.headers);
    let terminal: Terminal = read_json(Request::from_parts(parts, body), bounds).await?;
    let url = terminal_url(&terminal)?;
    let registered = apps.deployments.registered(&*apps.store).await;
    if !registered.map_err(AccessFailure::Store)?.is_proxy(&url) {
        let detail = format!("`{}` is not the host of a workspace proxy.", url.authority());
        return Err(AccessFailure::Invalid { message: "Invalid hostname in URL.", detail }.into());
    }

    let request = UncheckedRequest {
        access_method: AccessMethod::Terminal.as_str().to_owned(),
        base_path: url.path().to_owned(),
        agent_name_or_id: terminal.agent_id,
        ..UncheckedRequest::default()
    };
    let refused = |refused: Refused| {
        Ok(refused.told(false).into_response(&apps.config.access_url.to_string()))
    };
    let request = match named(request, request_id) {
        Ok(request) => request,
        Err(why) => return refused(why),
    };
    let asking = Asking {
        request,
        tokens: vec![session],
        whence: Whence::Nowhere,
        app_path: String::new(),
        app_query: String::new(),
        way_back: String::new(),
        ip: client,
        user_agent,
        html: false,
        preflight: None,
        now,
        request_id,
    };
    match issue(apps, asking).await {
        Ok(signed) => Ok(json(StatusCode::OK, &SignedTerminal { signed_token: signed.reveal() })),
        // The session that was sent is no good.
        Err(Refused::TerminalSignIn) => Err(AccessFailure::SignedOut(None).into()),
        Err(Refused::Inactive(status)) => {
            Err(AccessFailure::SignedOut(Some(SessionDenial::Inactive(status))).into())
        }
        Err(Refused::Denied(_) | Refused::Unresolved(_)) => Err(AccessFailure::NotFound.into()),
        Err(why) => refused(why),
    }
}

/// The address of the agent's terminal, with the scheme that its host has for pages
fn terminal_url(terminal: &Terminal) -> Result<HttpUrl, AccessFailure> {
    let invalid = |detail| AccessFailure::Invalid { message: "Invalid URL.", detail };
    let (scheme, rest) = terminal
        .url
        .split_once("://")
        .ok_or_else(|| invalid("It is not an absolute URL.".to_owned()))?;
    let page_scheme = match scheme {
        "ws" => "http",
        "wss" => "https",
        _ => return Err(invalid("Its scheme must be `ws` or `wss`.".to_owned())),
    };
    let url: HttpUrl = format!("{page_scheme}://{rest}")
        .parse()
        .map_err(|_| invalid("It cannot be parsed.".to_owned()))?;
    if terminal_agent(url.path()) != Some(&*terminal.agent_id) {
        let path = "Its path must be `/api/v2/workspaceagents/AGENT/pty`, with the same agent.";
        return Err(invalid(path.to_owned()));
    }
    Ok(url)
}
