use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};

use super::ProxyKind;
use crate::allowed::{Credentials, credentials, for_each_fact, header, own_authorization};
use crate::apps::{Admitted, cookies_for_control_plane};
use crate::proxies::X_FORWARDED_HOST;
use crate::reply::Response;

/// Lets the proxy continue to the app, with what the app is to see
///
/// A value is never empty if a proxy would then forward what the visitor sent.
pub(super) fn allow(proxy: ProxyKind, visitor: &HeaderMap, admitted: Admitted) -> Response {
    let mut response = Response::default();
    let headers = response.headers_mut();
    // One allocation for all headers of the answer.
    headers.reserve(16);
    for_each_fact(&admitted, |name, value| {
        // Caddy would forward the placeholder itself if the header were missing.
        let is_kept = proxy == ProxyKind::Caddy && MAY_BE_MISSING.contains(&name);
        let value = value.or_else(|| is_kept.then(|| HeaderValue::from_static("")));
        if let Some(value) = value {
            headers.insert(name, value);
        }
    });
    if let Some(cookie) = admitted.cookie {
        headers.insert(SET_COOKIE, cookie);
    }

    offer(headers, proxy, credentials(visitor, &admitted.deployment.cookie_names));
    if proxy == ProxyKind::Envoy {
        withhold(headers, &[header::FOLDER, header::CORS_ORIGIN, COOKIE, AUTHORIZATION]);
    }
    response
}

/// What the control plane receives with a visit
#[derive(Clone, Copy)]
pub(super) struct Forwarded<'a> {
    /// Host and port in the case in which the app token names them
    pub(super) host: &'a str,
    /// Path and query of the visitor, without our tokens
    pub(super) uri: &'a str,
    /// The app token that admits the visit
    pub(super) token: &'a str,
}

/// Lets the proxy continue to the control plane, with the app token as our only credential
pub(super) fn allow_to_control_plane(
    proxy: ProxyKind,
    visitor: &HeaderMap,
    forwarded: Forwarded<'_>,
    admitted: Admitted,
) -> Response {
    let mut response = Response::default();
    let headers = response.headers_mut();
    let names = &admitted.deployment.cookie_names;
    let cookie = cookies_for_control_plane(visitor, names, forwarded.token);
    let cookie = Some(cookie).filter(|cookie| !cookie.is_empty());
    offer(headers, proxy, Credentials { cookie, authorization: own_authorization(visitor) });
    let host = HeaderValue::from_str(forwarded.host).ok();
    let (host, uri) = match proxy {
        ProxyKind::Caddy | ProxyKind::Nginx => {
            ((header::HOST, host), HeaderValue::from_str(forwarded.uri).ok())
        }
        // These proxies cannot set `Host` or the query from a header of the answer. The control
        // plane prefers this header to `Host`.
        ProxyKind::Envoy | ProxyKind::Traefik => ((X_FORWARDED_HOST, host), None),
    };
    for (name, value) in [host, (header::URI, uri), (SET_COOKIE, admitted.cookie)] {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    if proxy == ProxyKind::Envoy {
        withhold(headers, &[&[AUTHORIZATION], &header::OURS[..]].concat());
    }
    response
}

/// Adds the visitor's own cookies and authorization that the upstream may see
fn offer(headers: &mut HeaderMap, proxy: ProxyKind, own: Credentials) {
    let Credentials { cookie, authorization } = own;
    for (name, offered, value) in
        [(COOKIE, header::COOKIE, cookie), (AUTHORIZATION, header::AUTHORIZATION, authorization)]
    {
        match (proxy, value) {
            // These proxies copy headers of the answer into the request under the same name.
            (ProxyKind::Traefik | ProxyKind::Envoy, Some(value)) => {
                drop(headers.insert(name, value))
            }
            (ProxyKind::Traefik | ProxyKind::Envoy, None) => {}
            (ProxyKind::Caddy | ProxyKind::Nginx, value) => {
                drop(headers.insert(offered, value.unwrap_or(HeaderValue::from_static(""))));
            }
        }
    }
}

/// Makes Envoy remove those headers that the answer does not replace
///
/// Otherwise they would reach the upstream as the visitor sent them.
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

/// The headers that not every visit has
const MAY_BE_MISSING: [HeaderName; 2] = [header::FOLDER, header::CORS_ORIGIN];
