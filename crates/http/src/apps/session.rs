use app_authz::address::HttpUrl;
use app_authz::app::AccessMethod;
use app_authz::credential::{
    Carried, Expiry, OtherSessions, SessionDenial, SessionToken, Source, authenticate,
};
use app_authz::token::AppToken;
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName};

use super::deployments::Deployment;
use super::{AppService, Visit, cookies, origin, parameters};
use crate::context::Context;
use crate::error::AccessError;
use crate::ports::AppPorts;
use crate::purpose::{Purpose, keeps_cookies_of_others};
use crate::reply::Reply;

/// All parts of a request that may carry a session token
pub(super) fn carried<'a>(
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

/// The session tokens of a request to the control plane, not verified yet, and where they were
///
/// Each that may count, in order of preference.
///
/// # Errors
///
/// [`AccessError::SignedOut`] if the request carries none.
pub(crate) fn presented_sessions<S>(
    apps: &AppService<S>,
    cx: &Context<'_>,
) -> Result<Vec<(Source, SessionToken)>, AccessError> {
    let is_own_page = origin::is_from(cx.headers(), &[&apps.config.access_url]);
    let parameters = if counts_in_query(cx, is_own_page) { parameters(cx.query) } else { vec![] };
    let carried = carried(cx.headers(), cookies(cx.headers()), &parameters);
    let found = carried.session_tokens(&apps.deployments.primary.cookie_names);
    let unknown = || AccessError::SignedOut(Some(SessionDenial::UnknownKey));
    let mut found = found.map_err(|_| unknown())?;
    if found.is_empty() {
        return Err(AccessError::SignedOut(None));
    }
    if is_bound(apps, cx.headers(), true) {
        found.retain(|(source, _)| !source.is_shared());
    }
    if found.is_empty() { Err(unknown()) } else { Ok(found) }
}

/// Whether a browser has its session in a cookie that is bound to the host that it addresses
///
/// That is so wherever authd sets these cookies: on hosts of apps, and at the dashboard unless a
/// control plane serves it. A session in any other cookie may then be that of the owner of a page on
/// another host, who has set it.
pub(super) fn is_bound<S>(apps: &AppService<S>, headers: &HeaderMap, at_dashboard: bool) -> bool {
    let are_ours = !at_dashboard || !apps.config.has_dashboard;
    apps.config.cookies.secure && are_ours && keeps_cookies_of_others(headers)
}

/// Whether a session in the query counts
///
/// A link or a page of another host can contain the session of another user. So in a browser it
/// counts only for a script or a socket of a page that may read the answer, and not for a person who
/// navigates.
pub(super) fn counts_in_query(cx: &Context<'_>, is_own_page: bool) -> bool {
    !keeps_cookies_of_others(cx.headers()) || is_own_page && cx.purpose() == Purpose::Program
}

/// Whether nothing says that a page of another host has set the cookie with the token
///
/// The cookie of an app by path has the path of the app, so it cannot be bound to its host as a
/// session can. Beside such a session, a token of any other session does not count.
pub(super) async fn is_of_host_session<S: AppPorts>(
    apps: &AppService<S>,
    cx: &Context<'_>,
    visit: &Visit<'_>,
    token: &AppToken,
) -> bool {
    let (false, Some(of_token)) = (visit.method == AccessMethod::Subdomain, token.session()) else {
        return true;
    };
    let cookies = cookies(cx.headers());
    let name = visit.deployment.cookie_names.host_session();
    let plain = cookies.iter().filter(|(known, _)| *known == name);
    let plain = plain.filter_map(|(_, text)| text.parse::<SessionToken>().ok());
    // While the keys cannot be fetched, no sealed session counts either.
    let sealed = apps.open_cookies(&cookies, visit, cx.now).await.unwrap_or_default();
    let mut bound = plain.chain(sealed).peekable();
    bound.peek().is_none() || bound.any(|session| session.id() == of_token)
}

/// Whether a request that changes something comes from a page of the dashboard, if it comes from
/// a page at all
///
/// Only a browser's cookies travel without its user's will.
pub(crate) fn same_origin(headers: &HeaderMap, source: Source, dashboard: &HttpUrl) -> bool {
    !source.is_cookie() || origin::is_from(headers, &[dashboard])
}

/// Ends the session in the cookie of an app's host, and redirects to the dashboard
pub(super) async fn log_out_of_apps<S: AppPorts>(
    apps: &AppService<S>,
    cx: &Context<'_>,
    deployment: &Deployment,
) -> Result<Reply, AccessError> {
    let method = AccessMethod::Subdomain;
    let names = &deployment.cookie_names;
    let carried = carried(cx.headers(), cookies(cx.headers()), &[]);
    let tokens = carried.app_session_tokens(names, method).into_iter();
    let is_of_apps = |source| matches!(source, Source::HostAppCookie | Source::AppCookie);
    let tokens: Vec<_> =
        tokens.filter(|(source, _)| is_of_apps(*source)).map(|(_, token)| token).collect();
    if !tokens.is_empty() {
        let holders = apps.store.holders(&tokens).await.map_err(AccessError::store)?;
        for token in &tokens {
            let holder = holders.iter().find(|holder| holder.key.id == token.id());
            let good = authenticate(token, holder, apps.terms(), cx.now).is_ok();
            let Some(holder) = holder.filter(|_| good) else { continue };
            let others = OtherSessions::ended_by(holder, &holder.subject(apps.roles()));
            apps.end_session(&holder.key, others, cx.now).await.map_err(AccessError::store)?;
        }
    }
    let domain = deployment.app_hosts.as_ref().map(|hosts| hosts.domain());
    let deleted = apps.cookies.set(names.app_session(method), "", "/", domain, Expiry::Delete);
    Ok(Reply::redirect(StatusCode::SEE_OTHER, apps.dashboard()).with_cookie(deleted))
}

const SESSION_TOKEN: HeaderName = HeaderName::from_static("coder-session-token");
