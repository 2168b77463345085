use std::sync::Arc;

use app_authz::address::{HttpUrl, auth_redirect};
use app_authz::app::{AccessMethod, CorsBehavior};
use app_authz::credential::{Expiry, SessionToken, Source, Withheld};
use app_authz::token::{API_KEY_PARAMETER, AppToken, Nonce, PresentedTokens, without_api_key};
use app_authz::{AppRequest, Error, Grant};
use http::StatusCode;
use http::header::{HeaderMap, HeaderValue, USER_AGENT};

use super::deployments::Deployment;
use super::find::{Found, find_visit, reject};
use super::origin::Page;
use super::seal::Opened;
use super::sign_in::SignInCookie;
use super::visit::{parameter, with_query};
use super::{
    AccessAttempt, AppService, ReturnTo, Upstream, Visit, control_plane, cookies, issue, origin,
    parameters, session,
};
use crate::context::Context;
use crate::error::Rejection;
use crate::ports::AppPorts;
use crate::purpose::{Purpose, is_browser, keeps_cookies_of_others};
use crate::reply::{Preflight, Reply};

/// A visit that may continue to its app
pub(crate) struct Admitted {
    /// The app token that proves it
    pub(crate) token: Arc<AppToken>,
    /// The text of the token, for a control plane that carries the visit
    pub(crate) token_text: Option<Box<str>>,
    /// A cookie with the token, if it is new
    pub(crate) cookie: Option<HeaderValue>,
    /// The path and the query to request from the app: below the path of its URL, and without
    /// the parameters that sign its visitor in
    pub(crate) uri: String,
    /// The visitor's path before the app's own; empty on a host of the app's own
    pub(crate) folder: String,
    /// The origin of the page that makes the request, if it is an app of the same owner
    pub(crate) origin: Option<String>,
    pub(crate) deployment: Arc<Deployment>,
}

impl Admitted {
    fn new(visit: &Visit<'_>, token: Arc<AppToken>) -> Self {
        Self {
            uri: uri_for_app(visit, &token.grant().url),
            folder: visit.folder().to_owned(),
            deployment: Arc::clone(&visit.deployment),
            token,
            token_text: None,
            cookie: None,
            origin: None,
        }
    }

    fn grant(&self) -> &Grant {
        self.token.grant()
    }
}

/// Admits a visit to its app, or replies to the visitor instead
///
/// `cx` has the host, path and query of the visitor, also if a proxy asks. `upstream` is where
/// the proxy carries an admitted visit. With `preflight` the request is an OPTIONS request whose
/// answer the proxy can relay.
pub(crate) async fn admit<S: AppPorts>(
    apps: &Arc<AppService<S>>,
    cx: &Context<'_>,
    upstream: Upstream,
    preflight: bool,
) -> Result<Admitted, Reply> {
    let Found { visit, request, is_new } = find_visit(apps, cx).await?;
    let rejected = |rejection| readable(reject(cx, rejection), &visit, None);
    if control_plane::reads_other_names(&visit, upstream) {
        return Err(rejected(Rejection::NoApp));
    }
    let parameters = parameters(cx.query);
    let sealed = parameter(&parameters, API_KEY_PARAMETER).filter(|sealed| !sealed.is_empty());
    if let Some(sealed) = sealed {
        let opened = Box::pin(open_seal(apps, cx, &visit, sealed)).await;
        return Err(opened.unwrap_or_else(rejected));
    }

    let request = request.map_err(rejected)?;
    let base_path = control_plane::base_path(&visit, upstream);
    let base_path = base_path.filter(|base_path| base_path != request.base_path());

    let preflight = visit.page.sibling().filter(|_| preflight);
    let preflight = preflight.and_then(|origin| Preflight::of(origin, cx.headers()));
    let cookies = cookies(cx.headers());
    let presented = match preflight {
        None => {
            let tokens = visit.app_tokens(&cookies, &parameters);
            by_token(apps, cx, &visit, &request, &tokens, upstream).await
        }
        // Only the gate answers a preflight request.
        Some(_) => None,
    };
    let admitted = match presented {
        Some(admitted) => {
            if is_new {
                apps.deployments.recent_hosts.note(cx.host, &request);
            }
            admitted
        }
        None => {
            // On the heap, so that a visit with a good app token has no room for it.
            Box::pin(async {
                let known = SignInCookie::all(&cookies, apps.sign_in_cookie_name()).next();
                let sign_in = leaving_cookie(apps, cx, &visit, (known.clone(), &cookies));
                let bound = apps.open_cookies(&cookies, &visit, cx.now).await;
                let bound = bound.map_err(|error| rejected(Rejection::SealKeys(error)))?;
                let bound = bound.into_iter().map(|token| (Source::HostAppCookie, token));
                let is_own_page = visit.page != Page::Foreign;
                let counts = session::counts_in_query(cx, is_own_page);
                let in_query = if counts { &*parameters } else { &[] };
                let mut others = visit.session_tokens(cx.headers(), cookies, in_query);
                if session::is_bound(apps, cx.headers(), visit.signs_in_at_dashboard()) {
                    others.retain(|(source, _)| !source.is_shared());
                }
                let tokens = bound.chain(others).collect();
                let request = (&visit, Arc::unwrap_or_clone(request));
                let attempt = access_attempt(cx, request, tokens, sign_in, preflight);
                let attempt = AccessAttempt { returning: known, ..attempt };
                by_decision(apps, cx, &visit, attempt, upstream).await
            })
            .await?
        }
    };
    let mut admitted = match base_path {
        Some(base_path) => rebase(apps, cx, admitted, &base_path).await.map_err(rejected)?,
        None => admitted,
    };
    let cors = admitted.grant().cors;
    if visit.page.is_refused(cx.method, cx.headers()) && origin::is_decided_here(visit.method, cors)
    {
        return Err(rejected(Rejection::ForeignPage));
    }
    if let Some(address) = canonical_address(cx, &visit, &admitted.grant().url) {
        let reply = Reply::redirect(StatusCode::TEMPORARY_REDIRECT, address);
        return Err(readable(reply.with_cookie(admitted.cookie), &visit, Some(cors)));
    }
    let origin = visit.page.sibling().filter(|_| cors == CorsBehavior::Simple);
    admitted.origin = origin.map(str::to_owned);
    Ok(admitted)
}

/// Lets a page of another app of the same owner read the reply
///
/// Not under `passthru`, where the app itself decides who reads its answers.
fn readable(reply: Reply, visit: &Visit<'_>, cors: Option<CorsBehavior>) -> Reply {
    match cors {
        Some(CorsBehavior::Passthru) => reply,
        _ => reply.readable_by(visit.page.sibling().map(str::to_owned)),
    }
}

/// The cookie of a browser that has to leave this host if its visitor is not signed in
fn leaving_cookie<S>(
    apps: &AppService<S>,
    cx: &Context<'_>,
    visit: &Visit<'_>,
    (known, cookies): (Option<SignInCookie>, &[(&str, &str)]),
) -> Option<SignInCookie> {
    if cx.purpose() != Purpose::Navigation || visit.signs_in_at_dashboard() {
        return None;
    }
    let app_token = visit.deployment.cookie_names.signed_app_token(visit.method);
    apps.cookie_of_leaving(known, cookies.iter().any(|(name, _)| *name == app_token))
}

/// What the gate has to know of a visit without a good app token
pub(super) fn access_attempt(
    cx: &Context<'_>,
    (visit, request): (&Visit<'_>, AppRequest),
    tokens: Vec<(Source, SessionToken)>,
    sign_in: Option<SignInCookie>,
    preflight: Option<Preflight>,
) -> AccessAttempt {
    AccessAttempt {
        request,
        tokens,
        return_to: ReturnTo::Deployment(Arc::clone(&visit.deployment), visit.at()),
        app_path: visit.app_path.to_owned(),
        app_query: Withheld::query(visit.query).into_owned(),
        path_and_query: with_query(visit.path, &Withheld::query(visit.query)),
        ip: cx.client,
        user_agent: user_agent(cx.headers()),
        purpose: cx.purpose(),
        sign_in,
        returning: None,
        preflight,
        is_foreign: visit.page.is_refused(cx.method, cx.headers()),
        now: cx.now,
        facts: cx.facts,
    }
}

/// Signs the token anew for the base path that the control plane reads, if it carries the visit
async fn rebase<S: AppPorts>(
    apps: &AppService<S>,
    cx: &Context<'_>,
    admitted: Admitted,
    base_path: &str,
) -> Result<Admitted, Rejection> {
    let Some(token) = &admitted.token_text else { return Ok(admitted) };
    let rebased = apps.keys.rebase(&*apps.store, (token, base_path), cx.now).await;
    let token_text = rebased.map_err(Rejection::Unsigned)?.reveal().into();
    Ok(Admitted { token_text: Some(token_text), ..admitted })
}

/// Opens a sealed session and makes a cookie of it
async fn open_seal<S: AppPorts>(
    apps: &AppService<S>,
    cx: &Context<'_>,
    visit: &Visit<'_>,
    sealed: &str,
) -> Result<Reply, Rejection> {
    if visit.signs_in_at_dashboard() {
        return Err(Rejection::SealOnDashboard);
    }
    let at = visit.at();
    let address = visit.absolute(&without_api_key(visit.path, visit.query));
    let cookies = cookies(cx.headers());
    let browser = SignInCookie::all(&cookies, apps.sign_in_cookie_name());
    let is_program = !is_browser(cx.headers());
    let opened = apps.open_seal((sealed, at.host()), is_program, browser, cx.now);
    let (token, browser) = match opened.await {
        Ok(Opened::Session(token, browser)) => (token, browser),
        // A visitor who is signed in by now continues, and any other signs in.
        Ok(Opened::Before | Opened::Elsewhere) => {
            return Ok(Reply::redirect(StatusCode::SEE_OTHER, address));
        }
        Ok(Opened::Unbound) => return sign_in_here(apps, cx, &cookies, &address),
        Ok(Opened::WithoutNonce { again: false }) => {
            let cookie = SignInCookie::new().ok_or(Rejection::LostSignIn)?;
            return leave(apps, &address, &cookie.nonce.clone().again(), &cookie);
        }
        Ok(Opened::WithoutNonce { again: true }) => return Err(Rejection::LostSignIn),
        Err(error @ Error::KeysUnavailable(_)) => return Err(Rejection::SealKeys(error)),
        Err(_) => return Err(Rejection::BadSeal),
    };
    let names = &visit.deployment.cookie_names;
    let cookie = match names.host_app_session(visit.method) {
        Some(name) => {
            let sealed = apps.seal_cookie((&token, at.host()), cx.now).await;
            let sealed = sealed.map_err(Rejection::SealKeys)?;
            apps.cookies.set(name, &sealed, "/", None, Expiry::Session)
        }
        None => {
            let (name, domain) = (names.app_session(visit.method), visit.cookie_domain());
            apps.cookies.set(name, token.reveal(), "/", domain, Expiry::Session)
        }
    };
    let back = Reply::redirect(StatusCode::SEE_OTHER, address).with_cookie(cookie);
    let browser = browser.and_then(|cookie| sign_in_cookie(apps, &cookie.with_session(cx.now)));
    Ok(back.with_cookie(browser))
}

/// Sends a browser to sign in that brings a seal for no particular browser
///
/// The dashboard makes such a seal if the browser did not come from here, and anybody can put one
/// into a link. The browser leaves with a nonce of its own, and returns with its user's session.
fn sign_in_here<S>(
    apps: &AppService<S>,
    cx: &Context<'_>,
    cookies: &[(&str, &str)],
    back: &str,
) -> Result<Reply, Rejection> {
    let known = SignInCookie::all(cookies, apps.sign_in_cookie_name()).next();
    let cookie = apps.cookie_of_leaving(known, false).ok_or(Rejection::LostSignIn)?;
    if cookie.is_looping(cx.now) {
        return Err(Rejection::LostSignIn);
    }
    let cookie = cookie.with_session(cx.now);
    leave(apps, back, &cookie.nonce, &cookie)
}

/// Sends a browser to the dashboard, with a nonce and the cookie that holds it
fn leave<S>(
    apps: &AppService<S>,
    back: &str,
    nonce: &Nonce,
    cookie: &SignInCookie,
) -> Result<Reply, Rejection> {
    let back: HttpUrl = back.parse().map_err(|_| Rejection::UnsafePath)?;
    let address = auth_redirect(&apps.config.access_url, &back, Some(nonce));
    let address = address.map_err(Rejection::NoReturn)?;
    let reply = Reply::redirect(StatusCode::SEE_OTHER, address.to_string());
    Ok(reply.with_cookie(sign_in_cookie(apps, cookie)))
}

/// The cookie of the host that the visitor is on
fn sign_in_cookie<S>(apps: &AppService<S>, cookie: &SignInCookie) -> Option<HeaderValue> {
    let name = apps.sign_in_cookie_name();
    apps.cookies.set(name, &cookie.to_string(), "/", None, Expiry::Session)
}

/// Admits a visit by the app token that it presents
async fn by_token<S: AppPorts>(
    apps: &AppService<S>,
    cx: &Context<'_>,
    visit: &Visit<'_>,
    request: &AppRequest,
    tokens: &PresentedTokens<'_>,
    upstream: Upstream,
) -> Option<Admitted> {
    let token = apps.keys.find(&*apps.store, tokens, request, cx.now).await?;
    // The page of a terminal puts the token into the query, and no page of another host can.
    if tokens.query.is_none() && !session::is_of_host_session(apps, cx, visit, &token).await {
        return None;
    }
    if !apps.revocations.admit(&token) || !apps.sessions.is_good(&token, cx.now).await {
        return None;
    }
    let text = match upstream {
        Upstream::Apps => None,
        Upstream::ControlPlane => apps.keys.find_text(&*apps.store, tokens, request, cx.now).await,
    };
    Some(Admitted { token_text: text.map(Into::into), ..Admitted::new(visit, token) })
}

/// Admits a visit by a new decision, whose app token becomes a cookie
async fn by_decision<S: AppPorts>(
    apps: &Arc<AppService<S>>,
    cx: &Context<'_>,
    visit: &Visit<'_>,
    attempt: AccessAttempt,
    upstream: Upstream,
) -> Result<Admitted, Reply> {
    // What a page puts into an address must not sign in the browser that has the page.
    let in_query = attempt.tokens.iter().filter(|(source, _)| source.is_parameter());
    let in_query = in_query.filter(|_| keeps_cookies_of_others(cx.headers()));
    let in_query: Vec<_> = in_query.map(|(_, token)| token.id().to_owned()).collect();
    let (purpose, now, sign_in) = (attempt.purpose, attempt.now, attempt.sign_in.clone());
    let returning = attempt.returning.clone();
    // The gate has logged the decision.
    let signed = issue(apps, attempt).await.map_err(|refusal| {
        // The sibling host that set a session can also set an app token, which would hide a loop.
        let kept = returning.as_ref().filter(|_| refusal.is_ambiguous);
        let leaving = kept.or(sign_in.as_ref()).filter(|_| refusal.leads_to_sign_in());
        let cookie = leaving.and_then(|cookie| sign_in_cookie(apps, cookie));
        let cors = refusal.cors;
        readable(refusal.into_reply(purpose).with_cookie(cookie), visit, cors)
    })?;
    if let Some(cookie) = &sign_in {
        apps.note_admitted(cookie, now);
    }
    let name = visit.deployment.cookie_names.signed_app_token(visit.method);
    let expiry = Expiry::At(signed.expires_at());
    let base_path = signed.token().request().base_path();
    let of_query = signed.token().session().filter(|id| in_query.iter().any(|known| known == id));
    let cookie = match of_query {
        Some(_) => None,
        None => apps.cookies.set(name, signed.reveal(), base_path, None, expiry),
    };
    let text = (upstream == Upstream::ControlPlane).then(|| signed.reveal().into());
    let admitted = Admitted::new(visit, Arc::clone(signed.token()));
    Ok(Admitted { cookie, token_text: text, ..admitted })
}

/// The path of the app's URL and the visitor's within the app, joined by one slash, and the
/// visitor's query
fn uri_for_app(visit: &Visit<'_>, url: &str) -> String {
    let query = Withheld::query(visit.query);
    let app_path = if visit.app_path.is_empty() { "/" } else { visit.app_path };
    // Most URLs end after host and port, and need no parsing.
    let has_path = url.splitn(4, '/').nth(3).is_some_and(|path| !path.is_empty());
    let base = has_path.then(|| HttpUrl::of_app(url).ok()).flatten();
    let Some(base) = base.as_ref().map(HttpUrl::path) else {
        return with_query(app_path, &query);
    };
    let base = base.strip_suffix('/').unwrap_or(base);
    with_query(&format!("{base}{app_path}"), &query)
}

/// The address that the browser has to request instead, if the visit is to the root of the app and
/// lacks the slash after the app's folder or the app's default query
///
/// Only a client that reads is redirected, and only at the root, as in the control plane: a script
/// or a WebSocket of a page does not expect another query.
fn canonical_address(cx: &Context<'_>, visit: &Visit<'_>, url: &str) -> Option<String> {
    let is_root = matches!(visit.app_path, "" | "/");
    if visit.method == AccessMethod::Terminal || !is_root {
        return None;
    }
    // Few apps have a query of their own.
    let has_default = visit.query.is_empty() && url.contains('?');
    let default = has_default.then(|| HttpUrl::of_app(url).ok()).flatten();
    let default = default.as_ref().and_then(HttpUrl::query).unwrap_or_default();
    let query = if visit.query.is_empty() { default } else { visit.query };
    let is_canonical = !visit.app_path.is_empty() && query == visit.query;
    if is_canonical || !cx.may_be_redirected() {
        return None;
    }
    let slash = if visit.app_path.is_empty() { "/" } else { "" };
    // Two slashes would begin the name of a host, and browsers take a backslash for one.
    let path = format!("/{}{slash}", visit.path.trim_start_matches(['/', '\\']));
    let path = if path == "//" { "/" } else { &*path };
    Some(visit.absolute(&with_query(path, query)))
}

/// The value of `User-Agent`, which may be any bytes
pub(crate) fn user_agent(headers: &HeaderMap) -> Vec<u8> {
    headers.get(USER_AGENT).map(|value| value.as_bytes().to_vec()).unwrap_or_default()
}
