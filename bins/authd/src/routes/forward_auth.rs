//! Forward authentication: a proxy asks for each request whether it may go on
//!
//! The same question from each, in the headers it happens to send; the answer differs in
//! how much of it the proxy can relay. See `docs/proxies.md`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use app_authz::app::Visitor;
use app_authz::credential::SessionToken;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCEPT, AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use store::Store;
use uuid::Uuid;

use crate::apps::{
    Allowed, Apps, Asked, Told, Upstream, VisitRequest, X_FORWARDED_HOST, accepts_html,
    cookies_for_app, cookies_for_control_plane, first, holds_token, own_host, query_for_app,
    terminal_agent, visit, with_query,
};
use crate::error::{AccessFailure, Failure, Refused};
use crate::router::envoy_prefix;

/// Which proxy asks
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Carrier {
    Caddy,
    /// Sends the visitor's own path, behind its prefix, and the visitor's own host
    Envoy,
    /// Relays nothing of an answer but 401 and 403, and no body
    Nginx,
    Traefik,
}

impl Carrier {
    /// Whether it asks the upstream for another query than it was asked for, byte by byte
    ///
    /// Caddy can only in some versions, and then spells it anew.
    const fn can_rewrite(self) -> bool {
        matches!(self, Self::Nginx)
    }
}

/// `/api/v2/forward-auth/{caddy,envoy,nginx,traefik}`, and the same below `control-plane`
///
/// Which of the two it is has to be in the path. Some proxies send the visitor's own query with
/// the check, and Envoy puts the visitor's path behind its own.
pub(crate) async fn check<S: Store>(
    apps: &Arc<Apps<S>>,
    (carrier, upstream): (Carrier, Upstream),
    request: &Parts,
    asked: &Asked<'_>,
    now: SystemTime,
    request_id: Uuid,
) -> Result<Response<Full<Bytes>>, Failure> {
    if !asked.trusted {
        return Err(AccessFailure::UntrustedPeer.into());
    }
    if upstream == Upstream::ControlPlane && !apps.keys.are_shared_secrets() {
        return Err(AccessFailure::Invalid {
            message: "The control plane cannot verify these app tokens.",
            detail: "Set `--app-token-signing hs512`, or let the proxy ask another check."
                .to_owned(),
        }
        .into());
    }
    let headers = &request.headers;
    let (host, uri) = match carrier {
        Carrier::Envoy => {
            let uri = request.uri.path_and_query().map_or("", |uri| uri.as_str());
            (own_host(&request.uri, headers), uri.strip_prefix(envoy_prefix(upstream)))
        }
        Carrier::Caddy | Carrier::Nginx | Carrier::Traefik => {
            let host = first(headers, &X_FORWARDED_HOST);
            let uri = headers.get(header::X_FORWARDED_URI).map(HeaderValue::as_bytes);
            // Not all clients encode what is not ASCII, and proxies pass it on.
            (host, uri.and_then(|uri| std::str::from_utf8(uri).ok()))
        }
    };
    let missing = |detail: &str| AccessFailure::Invalid {
        message: "The proxy does not say what was asked.",
        detail: detail.to_owned(),
    };
    let host = host.ok_or_else(|| missing("The visitor's host is missing."))?;
    // The control plane compares names byte by byte, so they are signed in the case in which
    // the proxy is to pass them on.
    let host = match upstream {
        Upstream::Apps => Cow::Borrowed(host),
        Upstream::ControlPlane => Cow::Owned(host.to_ascii_lowercase()),
    };
    let uri = uri
        .filter(|uri| uri.is_empty() || uri.starts_with(['/', '?']))
        .ok_or_else(|| missing("The visitor's path and query are missing."))?;
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    // The other two would have to take an answer for leave to go on, or might.
    let preflight = matches!(carrier, Carrier::Caddy | Carrier::Nginx)
        && headers.get("x-forwarded-method").is_some_and(|method| method == "OPTIONS");
    let question = VisitRequest {
        host: &host,
        path,
        query,
        headers,
        client: asked.client,
        now,
        request_id,
        preflight,
        upstream,
    };
    let open = without_tokens(uri);
    let is_shown = !carrier.can_rewrite() && holds_token(query) && terminal_agent(path).is_none();
    Ok(match visit(apps, question).await {
        Ok(allowed) if is_shown => without_query_tokens(headers, &host, &open, allowed)?,
        Ok(mut allowed) => {
            // An empty query is one: some apps tell `/x?` and `/x` apart.
            if query.is_empty() && uri.ends_with('?') {
                allowed.uri.push('?');
            }
            match allowed.token.take() {
                Some(token) => {
                    let handed = Handed { host: &host, uri: &open, token: &token };
                    allow_to_control_plane(carrier, headers, handed, allowed)
                }
                None => allow(carrier, headers, allowed),
            }
        }
        Err(told) if carrier == Carrier::Nginx => {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            response.headers_mut().insert(header::ANSWER, told.to_header());
            response
        }
        Err(told) => {
            let mut response = told.into_response(&apps.config.access_url.to_string());
            // Caddy takes any 2xx for leave to go on, unless its configuration knows better.
            if response.status().is_success() {
                *response.status_mut() = StatusCode::FORBIDDEN;
                response
                    .headers_mut()
                    .insert(header::PREFLIGHT, HeaderValue::from_static("allowed"));
            }
            response
        }
    })
}

/// Sends the browser to the same address without tokens of ours, with a cookie in their place
///
/// What cannot follow, or would not keep the cookie, has to send its token elsewhere.
fn without_query_tokens(
    visitor: &HeaderMap,
    host: &str,
    uri: &str,
    allowed: Allowed,
) -> Result<Response<Full<Bytes>>, AccessFailure> {
    if !is_navigation(visitor) {
        return Err(AccessFailure::Invalid {
            message: "The address holds a session token.",
            detail: "Send it in the header `Coder-Session-Token`: the proxy cannot take it out \
                     of the address, and the app must not see it."
                .to_owned(),
        });
    }
    let slash = if uri.starts_with('/') { "" } else { "/" };
    // Some proxies take a relative address in the answer to a check for one of authd's.
    let root = allowed.deployment.url.clone().with_authority(host);
    let root = root.and_then(|root| root.with_path("/", None)).map_err(AccessFailure::Internal)?;
    let address = format!("{}{slash}{uri}", root.to_string().trim_end_matches('/'));
    let told = Told::redirect(StatusCode::TEMPORARY_REDIRECT, address).with_cookie(allowed.cookie);
    Ok(told.into_response(""))
}

/// Whether a browser asks on behalf of a person who goes to that address
///
/// (Fetch Metadata, section 2: <https://www.w3.org/TR/fetch-metadata/>) What does not say so is
/// taken for a browser that is older if it names HTML among what it accepts.
fn is_navigation(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if headers.contains_key(UPGRADE) {
        return false;
    }
    match text(header::SEC_FETCH_MODE) {
        Some(mode) => mode == "navigate",
        None => text(ACCEPT).is_some_and(|accept| accept.contains("text/html")),
    }
}

/// `/api/v2/forward-auth/nginx/answer`
///
/// Gives the answer that nginx was handed in a header, as the visitor is to see it.
pub(crate) fn answer<S: Store>(
    apps: &Apps<S>,
    headers: &HeaderMap,
    asked: &Asked<'_>,
) -> Result<Response<Full<Bytes>>, Failure> {
    if !asked.trusted {
        return Err(AccessFailure::UntrustedPeer.into());
    }
    let told = headers.get(header::ANSWER).and_then(Told::from_header);
    let told = told.ok_or_else(|| AccessFailure::Invalid {
        message: "No answer to give.",
        detail: "The header `X-Authd-Answer` must hold what the check answered.".to_owned(),
    })?;
    Ok(told.into_response(&apps.config.access_url.to_string()))
}

/// `/api/v2/forward-auth/unreachable`
///
/// What a visitor sees who was let through, and whose app the proxy then could not reach.
/// It asks for nothing: the visit is decided and recorded.
pub(crate) fn unreachable<S: Store>(
    apps: &Apps<S>,
    headers: &HeaderMap,
    asked: &Asked<'_>,
) -> Result<Response<Full<Bytes>>, Failure> {
    if !asked.trusted {
        return Err(AccessFailure::UntrustedPeer.into());
    }
    let told = Refused::Unreachable.told(accepts_html(headers));
    Ok(told.into_response(&apps.config.access_url.to_string()))
}

/// Lets the proxy go on, and tells it what the app is to know
///
/// No value is ever empty that some proxy would then leave as the visitor sent it.
fn allow(carrier: Carrier, visitor: &HeaderMap, allowed: Allowed) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    let headers = response.headers_mut();
    // Room for all that an answer has, at once.
    headers.reserve(16);
    let grant = allowed.app_token.grant();
    let user = match grant.visitor {
        Visitor::User(user) => id(user.0),
        Visitor::Anonymous => Some(HeaderValue::from_static("anonymous")),
        Visitor::Unspecified => Some(HeaderValue::from_static("unknown")),
    };
    let cors = HeaderValue::from_static(grant.cors.as_str());
    let of_text = |text: String| HeaderValue::try_from(text).ok();
    let origin = allowed.origin.and_then(of_text);
    let folder = of_text(allowed.folder).filter(|folder| !folder.is_empty());
    // Caddy would write the name of a value that is not there.
    let [origin, folder] = [origin, folder].map(|value| match carrier {
        Carrier::Caddy => value.or(Some(HeaderValue::from_static(""))),
        Carrier::Envoy | Carrier::Nginx | Carrier::Traefik => value,
    });
    for (name, value) in [
        (header::USER, user),
        (header::OWNER_ID, id(grant.owner.0)),
        (header::WORKSPACE_ID, id(grant.workspace.0)),
        (header::AGENT_ID, id(grant.agent.0)),
        // These stood in a URL or a header, or in a database that keeps URLs.
        (header::APP_URL, HeaderValue::from_str(&grant.url).ok()),
        (header::URI, of_text(allowed.uri)),
        (header::FOLDER, folder),
        (header::CORS, Some(cors)),
        (header::CORS_ORIGIN, origin),
        (SET_COOKIE, allowed.cookie),
    ] {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }

    let cookie = cookies_for_app(visitor, &allowed.deployment.cookie_names);
    offer(headers, carrier, visitor, cookie);
    if carrier == Carrier::Envoy {
        withhold(headers, &[header::FOLDER, header::CORS_ORIGIN, COOKIE, AUTHORIZATION]);
    }
    response
}

/// What the control plane is handed with a visit
#[derive(Clone, Copy)]
struct Handed<'a> {
    /// Host and port as the names in the app token are written
    host: &'a str,
    /// Path and query of the visitor, without tokens of ours
    uri: &'a str,
    /// The app token that lets the visit through
    token: &'a str,
}

/// Lets the proxy go on to the control plane, with the app token and nothing else of ours
fn allow_to_control_plane(
    carrier: Carrier,
    visitor: &HeaderMap,
    handed: Handed<'_>,
    allowed: Allowed,
) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    let headers = response.headers_mut();
    let names = &allowed.deployment.cookie_names;
    offer(headers, carrier, visitor, cookies_for_control_plane(visitor, names, handed.token));
    let host = HeaderValue::from_str(handed.host).ok();
    let (host, uri) = match carrier {
        Carrier::Caddy | Carrier::Nginx => {
            ((header::HOST, host), HeaderValue::from_str(handed.uri).ok())
        }
        // Neither can rewrite its own `Host` or a query by a header of the answer. The control
        // plane takes this header for the host if it is there.
        Carrier::Envoy | Carrier::Traefik => ((X_FORWARDED_HOST, host), None),
    };
    for (name, value) in [host, (header::URI, uri), (SET_COOKIE, allowed.cookie)] {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    if carrier == Carrier::Envoy {
        withhold(headers, &[&[AUTHORIZATION], &header::OURS[..]].concat());
    }
    response
}

/// Offers what the upstream may see of the visitor's own cookies and authorization
fn offer(headers: &mut HeaderMap, carrier: Carrier, visitor: &HeaderMap, cookie: HeaderValue) {
    let cookie = Some(cookie).filter(|cookie| !cookie.is_empty());
    let authorization = visitor.get(AUTHORIZATION).filter(|value| !is_ours(value)).cloned();
    for (name, offered, value) in
        [(COOKIE, header::COOKIE, cookie), (AUTHORIZATION, header::AUTHORIZATION, authorization)]
    {
        match (carrier, value) {
            // These put headers of the answer into the request under their own names.
            (Carrier::Traefik | Carrier::Envoy, Some(value)) => drop(headers.insert(name, value)),
            (Carrier::Traefik | Carrier::Envoy, None) => {}
            (Carrier::Caddy | Carrier::Nginx, value) => {
                drop(headers.insert(offered, value.unwrap_or(HeaderValue::from_static(""))));
            }
        }
    }
}

/// Has Envoy take out those of the headers that the answer does not replace
///
/// They would reach the upstream as the visitor sent them.
fn withhold(headers: &mut HeaderMap, names: &[HeaderName]) {
    let mut withheld = String::from("coder-session-token");
    for name in names.iter().filter(|name| !headers.contains_key(*name)) {
        withheld.push(',');
        withheld.push_str(name.as_str());
    }
    if let Ok(withheld) = HeaderValue::try_from(withheld) {
        headers.insert(header::ENVOY_REMOVES, withheld);
    }
}

/// Path and query without tokens of ours; any other byte stays as it is
fn without_tokens(uri: &str) -> Cow<'_, str> {
    let Some((path, query)) = uri.split_once('?') else { return Cow::Borrowed(uri) };
    let open = query_for_app(query);
    if open == query { Cow::Borrowed(uri) } else { Cow::Owned(with_query(path, &open)) }
}

fn id(id: Uuid) -> Option<HeaderValue> {
    HeaderValue::from_str(id.as_hyphenated().encode_lower(&mut Uuid::encode_buffer())).ok()
}

/// Whether it is a session token of ours, which no app may see
fn is_ours(authorization: &HeaderValue) -> bool {
    let text = authorization.to_str().ok();
    let token = text.and_then(|text| text.split_once(' ')).map(|(_, token)| token.trim());
    token.is_some_and(|token| token.parse::<SessionToken>().is_ok())
}

/// What proxies say and are told
mod header {
    use hyper::header::HeaderName;

    pub(super) const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

    pub(super) const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

    pub(super) const USER: HeaderName = HeaderName::from_static("x-authd-user");
    pub(super) const OWNER_ID: HeaderName = HeaderName::from_static("x-authd-owner-id");
    pub(super) const WORKSPACE_ID: HeaderName = HeaderName::from_static("x-authd-workspace-id");
    pub(super) const AGENT_ID: HeaderName = HeaderName::from_static("x-authd-agent-id");
    pub(super) const APP_URL: HeaderName = HeaderName::from_static("x-authd-app-url");
    pub(super) const URI: HeaderName = HeaderName::from_static("x-authd-uri");
    pub(super) const CORS: HeaderName = HeaderName::from_static("x-authd-cors");

    /// The part of the visitor's path that the app does not see
    pub(super) const FOLDER: HeaderName = HeaderName::from_static("x-authd-folder");

    /// Whose page may read the app's answer
    pub(super) const CORS_ORIGIN: HeaderName = HeaderName::from_static("x-authd-cors-origin");

    /// The host as the upstream is to be asked for it
    pub(super) const HOST: HeaderName = HeaderName::from_static("x-authd-host");

    pub(super) const COOKIE: HeaderName = HeaderName::from_static("x-authd-cookie");
    pub(super) const AUTHORIZATION: HeaderName = HeaderName::from_static("x-authd-authorization");

    /// All that only authd says
    pub(super) const OURS: [HeaderName; 14] = [
        USER,
        OWNER_ID,
        WORKSPACE_ID,
        AGENT_ID,
        APP_URL,
        URI,
        FOLDER,
        CORS,
        CORS_ORIGIN,
        HOST,
        COOKIE,
        AUTHORIZATION,
        PREFLIGHT,
        ANSWER,
    ];

    /// What Envoy is to take out of the request
    pub(super) const ENVOY_REMOVES: HeaderName =
        HeaderName::from_static("x-envoy-auth-headers-to-remove");

    /// Says that an answer of 403 is to be 204: what a page asks ahead for is allowed
    pub(super) const PREFLIGHT: HeaderName = HeaderName::from_static("x-authd-preflight");

    /// Carries an answer through nginx
    pub(super) const ANSWER: HeaderName = HeaderName::from_static("x-authd-answer");
}
