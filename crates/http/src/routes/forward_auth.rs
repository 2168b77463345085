//! Forward authentication: a proxy asks about each request whether it may continue
//!
//! Every proxy asks the same question, in the headers that it happens to send. The answers differ
//! in how much of them the proxy can relay. See `docs/proxies.md`.

mod allow;

use std::borrow::Cow;
use std::sync::Arc;

use app_authz::app::terminal_agent;
use app_authz::credential::Withheld;
use http::header::HeaderValue;
use http::{Method, StatusCode};

use self::allow::{Forwarded, allow, allow_to_control_plane};
use crate::allowed::{admit_visitor, failure, header};
use crate::apps::{Admitted, AppService, Upstream, with_query};
use crate::context::Context;
use crate::error::{AccessError, Error, Rejection};
use crate::ports::AppPorts;
use crate::proxies::{first, own_host};
use crate::purpose::Purpose;
use crate::reply::{Reply, Response, empty};

/// The kind of proxy that asks
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ProxyKind {
    Caddy,
    /// Sends the visitor's own host, and the visitor's own path after the prefix of the check
    Envoy,
    /// Relays only the statuses 401 and 403 of an answer, without a body
    Nginx,
    Traefik,
}

impl ProxyKind {
    /// Whether the proxy can replace the query of the request to the upstream, byte for byte
    ///
    /// Some versions of Caddy can, but encode the query again.
    const fn can_rewrite(self) -> bool {
        matches!(self, Self::Nginx)
    }
}

/// The path of Envoy's checks, which the visitor's own path follows
pub(crate) const fn envoy_prefix(upstream: Upstream) -> &'static str {
    match upstream {
        Upstream::Apps => "/api/v2/forward-auth/envoy",
        Upstream::ControlPlane => "/api/v2/forward-auth/control-plane/envoy",
    }
}

/// `/api/v2/forward-auth/{caddy,envoy,nginx,traefik}`, and the same below `control-plane`
///
/// Proxy and upstream have to be in the path. Some proxies send the visitor's own query with the
/// check, and Envoy appends the visitor's path.
pub(crate) async fn check<S: AppPorts>(
    apps: &Arc<AppService<S>>,
    cx: &Context<'_>,
    proxy: ProxyKind,
    upstream: Upstream,
) -> Result<Response, Error> {
    require_trusted(cx)?;
    if upstream == Upstream::ControlPlane && !apps.keys.are_shared_secrets() {
        let message = "The control plane cannot verify these app tokens.";
        let detail = "Set `--app-token-signing hs512`, or let the proxy ask another check.";
        return Err(AccessError::invalid(message, detail).into());
    }
    let (host, uri) = visited(cx, proxy, upstream)?;
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let method = method(cx, proxy);
    let facts = cx.facts.with_method(method);
    let visitor = Context { method, host: &host, path, query, facts, ..*cx };
    // Traefik would take the answer to a preflight request for permission.
    let preflight = proxy != ProxyKind::Traefik && visitor.method == Method::OPTIONS;
    let open = without_tokens(uri);
    let is_shown =
        !proxy.can_rewrite() && Withheld::holds_token(query) && terminal_agent(path).is_none();
    let has_bare_mark = query.is_empty() && uri.ends_with('?');
    let admitted = admit_visitor(apps, &visitor, has_bare_mark, upstream, preflight).await;
    let mut admitted = match admitted {
        Ok(admitted) if is_shown => return Ok(without_query_tokens(&visitor, &open, admitted)?),
        Ok(admitted) => admitted,
        Err(reply) => return Ok(reject(cx, proxy, reply)),
    };
    Ok(match admitted.token_text.take() {
        Some(token) => {
            let forwarded = Forwarded { host: &host, uri: &open, token: &token };
            allow_to_control_plane(proxy, cx.headers(), forwarded, admitted)
        }
        None => allow(proxy, cx.headers(), admitted),
    })
}

/// Errs unless a trusted proxy sent the request
fn require_trusted(cx: &Context<'_>) -> Result<(), AccessError> {
    if cx.trusted { Ok(()) } else { Err(AccessError::UntrustedPeer) }
}

/// The method of the visitor's request
///
/// Envoy sends a check with it. The others send it in a header, or not at all; the request is then
/// taken for one that reads.
fn method<'a>(cx: &Context<'a>, proxy: ProxyKind) -> &'a str {
    match proxy {
        ProxyKind::Envoy => cx.method,
        ProxyKind::Caddy | ProxyKind::Nginx | ProxyKind::Traefik => {
            first(cx.headers(), &header::X_FORWARDED_METHOD).unwrap_or(Method::GET.as_str())
        }
    }
}

/// Host, and path and query, that the visitor requested, as the proxy forwards them
fn visited<'a>(
    cx: &Context<'a>,
    proxy: ProxyKind,
    upstream: Upstream,
) -> Result<(Cow<'a, str>, &'a str), AccessError> {
    let headers = cx.headers();
    let (host, uri) = match proxy {
        ProxyKind::Envoy => {
            let uri = cx.head.uri.path_and_query().map_or("", |uri| uri.as_str());
            (own_host(&cx.head.uri, headers), uri.strip_prefix(envoy_prefix(upstream)))
        }
        ProxyKind::Caddy | ProxyKind::Nginx | ProxyKind::Traefik => {
            let uri = headers.get(header::X_FORWARDED_URI).map(HeaderValue::as_bytes);
            // Some clients do not encode what is not ASCII, and proxies forward it as it is.
            let uri = uri.and_then(|uri| std::str::from_utf8(uri).ok());
            (cx.forwarded_host, uri)
        }
    };
    let missing = |detail| AccessError::invalid("Forwarded request headers are missing.", detail);
    let host = host.ok_or_else(|| missing("The visitor's host is missing."))?;
    // The control plane compares names byte by byte, so they are signed in the case in which the
    // proxy is to forward them.
    let host = match upstream {
        Upstream::Apps => Cow::Borrowed(host),
        Upstream::ControlPlane => Cow::Owned(host.to_ascii_lowercase()),
    };
    let uri = uri
        .filter(|uri| uri.is_empty() || uri.starts_with(['/', '?']))
        .ok_or_else(|| missing("The visitor's path and query are missing."))?;
    Ok((host, uri))
}

/// Keeps the visit from continuing, with a reply to the visitor
fn reject(cx: &Context<'_>, proxy: ProxyKind, reply: Reply) -> Response {
    if proxy == ProxyKind::Nginx {
        let reply = reply.for_request(cx.facts.id);
        return empty(StatusCode::UNAUTHORIZED, header::ANSWER, reply.to_header());
    }
    let mut response = reply.into_response();
    // Caddy takes any 2xx for permission to continue, unless its configuration says otherwise.
    // Envoy takes only 200 for that.
    if response.status().is_success() && proxy != ProxyKind::Envoy {
        *response.status_mut() = StatusCode::FORBIDDEN;
        response.headers_mut().insert(header::PREFLIGHT, HeaderValue::from_static("allowed"));
    }
    response
}

/// The answer to a check that failed, in the form for the visitor
///
/// If the proxy itself is at fault, it gets the status as it is.
pub(crate) fn answer_to_failure(cx: &Context<'_>, proxy: ProxyKind, error: Error) -> Response {
    let visitor = Context { method: method(cx, proxy), ..*cx };
    let problem = error.problem();
    if problem.status.is_server_error() {
        return reject(cx, proxy, failure(&visitor, problem.retry()));
    }
    super::refused(&visitor, error)
}

/// Redirects the browser to the same address without our tokens
///
/// A client that signs in by the token has to send it in a header.
fn without_query_tokens(
    visitor: &Context<'_>,
    uri: &str,
    admitted: Admitted,
) -> Result<Response, AccessError> {
    if visitor.purpose() != Purpose::Navigation {
        let detail = "Send it in the header `Coder-Session-Token`: the proxy cannot take it out \
                      of the address, and the app must not see it.";
        return Err(AccessError::invalid("The address holds a session token.", detail));
    }
    let slash = if uri.starts_with('/') { "" } else { "/" };
    // Some proxies resolve a relative address in the answer to a check against authd.
    let root = admitted.deployment.address(visitor.host).origin();
    let address = format!("{root}{slash}{uri}");
    let reply = Reply::redirect(StatusCode::TEMPORARY_REDIRECT, address);
    Ok(reply.with_cookie(admitted.cookie).into_response())
}

/// `/api/v2/forward-auth/nginx/answer`
///
/// Returns the reply that nginx received in a header, in the form for the visitor.
pub(crate) fn answer(cx: &Context<'_>) -> Result<Response, Error> {
    require_trusted(cx)?;
    let reply = cx.headers().get(header::ANSWER).and_then(Reply::from_header);
    let reply = reply.ok_or_else(|| {
        let detail = "The header `X-Authd-Answer` must hold what the check answered.";
        AccessError::invalid("No answer to give.", detail)
    })?;
    Ok(reply.into_response())
}

/// Why a proxy could not carry an admitted visit to its app
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Failure {
    /// The app does not accept the connection, or ended it
    Unreachable,
    /// The app's answer took too long
    TimedOut,
}

/// `/api/v2/forward-auth/unreachable` and `/api/v2/forward-auth/timeout`
///
/// The page for a visitor who was admitted to an app that then did not answer. It asks no
/// question of the store: the visit is decided and recorded.
pub(crate) fn failed(cx: &Context<'_>, failure: Failure) -> Result<Response, Error> {
    require_trusted(cx)?;
    let rejection = match failure {
        Failure::Unreachable => Rejection::Unreachable,
        Failure::TimedOut => Rejection::TimedOut,
    };
    Ok(rejection.into_reply(cx.purpose()).into_response())
}

/// Path and query without our tokens; every other byte is unchanged
fn without_tokens(uri: &str) -> Cow<'_, str> {
    let Some((path, query)) = uri.split_once('?') else { return Cow::Borrowed(uri) };
    let open = Withheld::query(query);
    if open == query { Cow::Borrowed(uri) } else { Cow::Owned(with_query(path, &open)) }
}
