use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use app_authz::address::{HostMeaning, HttpUrl};
use app_authz::app::{AccessMethod, CorsBehavior, Port};
use app_authz::token::{
    API_KEY_PARAMETER, AppToken, PresentedTokens, SignedToken, without_api_key,
};
use app_authz::{AppRequest, Error};
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue, USER_AGENT};
use store::Store;
use uuid::Uuid;

use super::deployments::Deployment;
use super::visit::{parameter, with_query};
use super::{
    Apps, Asking, Lasting, Preflight, Told, Upstream, Visit, Whence, accepts_html, control_plane,
    cookies, cors, issue, parameters, query_for_app,
};
use crate::error::Refused;

/// A request that was made of a host of apps, through whatever proxy
pub(crate) struct Request<'a> {
    /// Host and port, as the visitor wrote them
    pub(crate) host: &'a str,
    /// The raw path; may lack even its first slash
    pub(crate) path: &'a str,
    /// The raw query
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) client: Option<IpAddr>,
    pub(crate) now: SystemTime,
    pub(crate) request_id: Uuid,
    /// Whether it may be answered as a browser's question whether a page may ask
    pub(crate) preflight: bool,
    /// What the proxy carries it to, if it is allowed
    pub(crate) upstream: Upstream,
}

/// A visit that may go on to its app
pub(crate) struct Allowed {
    /// What lets the visit through, presented or just signed
    pub(crate) app_token: Arc<AppToken>,
    /// The page that asks is that of another app of the owner's, which may then ask
    pub(crate) origin: Option<String>,
    /// Path and query to ask the app for: below the path of its URL, and without what signs
    /// its visitor in
    pub(crate) uri: String,
    /// The part of the visitor's path that is not the app's; empty on a host of its own
    pub(crate) folder: String,
    pub(crate) deployment: Arc<Deployment>,
    /// The app token, where a new one was issued
    pub(crate) cookie: Option<HeaderValue>,
    /// The text of the app token that lets it through, where the control plane carries it
    pub(crate) token: Option<Box<str>>,
}

/// Lets a visit through to its app, or says what its visitor is told instead
pub(crate) async fn visit<S: Store>(
    apps: &Arc<Apps<S>>,
    request: Request<'_>,
) -> Result<Allowed, Told> {
    let html = accepts_html(request.headers);
    let refused = |refused: Refused| {
        refused.log(request.request_id);
        refused.told(html)
    };
    let found = apps.deployments.find(&*apps.store, request.host).await;
    let (deployment, meaning) = found
        .map_err(|error| refused(Refused::Directory(error)))?
        .ok_or_else(|| refused(Refused::NoApp))?;
    let at = deployment.address(request.host);
    let mut visit = match meaning {
        HostMeaning::Logout => {
            return Err(super::session::app_log_out(apps, &request, &deployment).await);
        }
        HostMeaning::Malformed(label) => return Err(refused(Refused::MalformedHost(label))),
        HostMeaning::App(name) => {
            Visit::subdomain((deployment, at), name, request.path, request.query)
        }
        HostMeaning::Dashboard => {
            Visit::path((deployment, at), request.path, request.query).map_err(refused)?
        }
    };
    if visit.method == AccessMethod::Path && apps.config.disable_path_apps {
        return Err(refused(Refused::PathAppsDisabled));
    }
    let parameters = parameters(request.query);
    let sealed = parameter(&parameters, API_KEY_PARAMETER).filter(|sealed| !sealed.is_empty());
    if let Some(sealed) = sealed {
        return Err(arrive(apps, &visit, sealed, request.now).await.unwrap_or_else(refused));
    }

    let origin = cors::sibling(&visit, request.headers);
    let preflight = origin.as_deref().filter(|_| request.preflight);
    let preflight = preflight.and_then(|origin| Preflight::of(origin, request.headers));

    let named = AppRequest::try_from(std::mem::take(&mut visit.request));
    let named = named.map_err(|error| refused(Refused::InvalidRequest(error)))?;
    let port = named.slug_or_port().parse::<Port>().ok();
    let base_path = control_plane::base_path(&visit, request.upstream);
    let base_path = base_path.filter(|base_path| base_path != named.base_path());
    let cookies = cookies(request.headers);
    let known = match preflight {
        None => {
            let tokens = visit.app_tokens(&cookies, &parameters);
            by_token(apps, &visit, &request, &named, &tokens).await
        }
        // Only the gate answers it.
        Some(_) => None,
    };
    let mut allowed = match known {
        Some(allowed) => allowed,
        None => {
            let asking = Asking {
                request: named,
                tokens: visit.session_tokens(request.headers, cookies, &parameters),
                whence: Whence::Deployment(Arc::clone(&visit.deployment), visit.at.clone()),
                app_path: visit.app_path.to_owned(),
                app_query: visit.query.to_owned(),
                way_back: visit.path_and_query(),
                ip: request.client,
                user_agent: user_agent(request.headers),
                html,
                preflight,
                now: request.now,
                request_id: request.request_id,
            };
            // The gate has logged what it decided.
            let signed = issue(apps, asking).await.map_err(|refused| refused.told(html))?;
            of_issue(apps, &visit, &signed, request.upstream)
        }
    };
    if let (Some(token), Some(base_path)) = (&allowed.token, base_path) {
        let rebased = apps.keys.rebase(&*apps.store, (token, &base_path), request.now).await;
        let rebased = rebased.map_err(|error| refused(Refused::Unsigned(error)))?;
        allowed.token = Some(rebased.reveal().into());
    }
    let cors = allowed.app_token.grant().cors;
    allowed.origin = origin.filter(|_| cors == CorsBehavior::Simple);
    correct(&visit, port, allowed).map_err(|correction| match correction {
        Correction::Refuse(why) => refused(why),
        Correction::Ask(address, cookie) => {
            Told::redirect(StatusCode::TEMPORARY_REDIRECT, address).with_cookie(cookie)
        }
    })
}

/// Takes in a sealed session: from here on it is a cookie
async fn arrive<S: Store>(
    apps: &Apps<S>,
    visit: &Visit<'_>,
    sealed: &str,
    now: SystemTime,
) -> Result<Told, Refused> {
    if visit.method != AccessMethod::Subdomain && visit.deployment.primary {
        return Err(Refused::SealOnDashboard);
    }
    let back = || {
        let address = visit.absolute(&without_api_key(visit.path, visit.query));
        Told::redirect(StatusCode::SEE_OTHER, address)
    };
    let token = match apps.open_seal(sealed, now).await {
        Ok(Some(token)) => token,
        // Opened before: whoever has the cookie goes on, and anybody else signs in.
        Ok(None) => return Ok(back()),
        Err(error @ Error::KeysUnavailable(_)) => return Err(Refused::SealKeys(error)),
        Err(_) => return Err(Refused::BadSeal),
    };
    let names = &visit.deployment.cookie_names;
    let domain = match visit.method {
        AccessMethod::Subdomain => visit.deployment.app_hosts.as_ref().map(|hosts| hosts.domain()),
        AccessMethod::Path | AccessMethod::Terminal => None,
    };
    let name = names.app_session(visit.method);
    let cookie = apps.cookies.bake(name, token.reveal(), "/", domain, Lasting::Session);
    Ok(back().with_cookie(cookie))
}

/// Lets a visit through that carries a good app token
async fn by_token<S: Store>(
    apps: &Apps<S>,
    visit: &Visit<'_>,
    request: &Request<'_>,
    named: &AppRequest,
    tokens: &PresentedTokens<'_>,
) -> Option<Allowed> {
    let token = apps.keys.find(&*apps.store, tokens, named, request.now).await?;
    let text = match request.upstream {
        Upstream::Apps => None,
        Upstream::ControlPlane => {
            apps.keys.find_text(&*apps.store, tokens, named, request.now).await
        }
    };
    Some(allowed(visit, token, text.map(Into::into)))
}

/// The visit that a good app token lets through; `text` is for the control plane
fn allowed(visit: &Visit<'_>, app_token: Arc<AppToken>, text: Option<Box<str>>) -> Allowed {
    Allowed {
        uri: uri_for_app(visit, &app_token.grant().url),
        folder: folder(visit),
        app_token,
        origin: None,
        deployment: Arc::clone(&visit.deployment),
        cookie: None,
        token: text,
    }
}

fn of_issue<S: Store>(
    apps: &Apps<S>,
    visit: &Visit<'_>,
    signed: &SignedToken,
    upstream: Upstream,
) -> Allowed {
    let name = visit.deployment.cookie_names.signed_app_token();
    let lasting = Lasting::Until(signed.expires_at());
    let base_path = signed.token().request().base_path();
    let cookie = apps.cookies.bake(name, signed.reveal(), base_path, None, lasting);
    let text = (upstream == Upstream::ControlPlane).then(|| signed.reveal().into());
    Allowed { cookie, ..allowed(visit, Arc::clone(signed.token()), text) }
}

/// The path of the app's URL and the visitor's within the app, joined by one slash, and the
/// visitor's query
fn uri_for_app(visit: &Visit<'_>, url: &str) -> String {
    let query = query_for_app(visit.query);
    // Most URLs end behind host and port.
    let has_path = url.splitn(4, '/').nth(3).is_some_and(|path| !path.is_empty());
    let base = has_path.then(|| HttpUrl::of_app(url).ok()).flatten();
    let Some(base) = base.as_ref().map(HttpUrl::path) else {
        return with_query(visit.app_path, &query);
    };
    let base = base.strip_suffix('/').unwrap_or(base);
    with_query(&format!("{base}{}", visit.app_path), &query)
}

/// What precedes the visitor's path within the app
fn folder(visit: &Visit<'_>) -> String {
    match visit.method {
        AccessMethod::Path => {
            visit.path.strip_suffix(visit.app_path).unwrap_or(visit.path).to_owned()
        }
        AccessMethod::Subdomain | AccessMethod::Terminal => String::new(),
    }
}

/// Why an allowed visit does not go on as it is
enum Correction {
    Refuse(Refused),
    /// The browser has to ask for this address
    Ask(String, Option<HeaderValue>),
}

/// Has the browser ask for the app as it wants to be asked for: below its own folder, and
/// with its default query where there is none
fn correct(visit: &Visit<'_>, port: Option<Port>, allowed: Allowed) -> Result<Allowed, Correction> {
    if visit.method == AccessMethod::Terminal {
        return Ok(allowed);
    }
    if port.is_some_and(Port::is_reserved) {
        return Err(Correction::Refuse(Refused::ReservedPort));
    }
    // Hardly any app has a query of its own.
    let url = &allowed.app_token.grant().url;
    let has_default = visit.query.is_empty() && url.contains('?');
    let default = has_default.then(|| HttpUrl::of_app(url).ok()).flatten();
    let default = default.as_ref().and_then(HttpUrl::query).unwrap_or_default();
    let query = if visit.query.is_empty() { default } else { visit.query };
    if visit.app_path.is_empty() || query != visit.query {
        let slash = if visit.app_path.is_empty() { "/" } else { "" };
        // Two slashes would begin the name of a host, and a backslash is one to browsers.
        let path = format!("/{}{slash}", visit.path.trim_start_matches(['/', '\\']));
        let path = if path == "//" { "/" } else { &*path };
        let address = visit.absolute(&with_query(path, query));
        return Err(Correction::Ask(address, allowed.cookie));
    }
    Ok(allowed)
}

/// The browser's own account of itself, whatever bytes it is
pub(crate) fn user_agent(headers: &HeaderMap) -> Vec<u8> {
    headers.get(USER_AGENT).map(|value| value.as_bytes().to_vec()).unwrap_or_default()
}
