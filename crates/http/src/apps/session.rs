use std::net::IpAddr;
use std::time::SystemTime;

use app_authz::address::HttpUrl;
use app_authz::app::AccessMethod;
use app_authz::credential::{KeyHolder, OtherSessions, SessionDenial, Source, authenticate};
use app_authz::rbac::Subject;
use http::StatusCode;
use http::header::{HeaderMap, ORIGIN};
use store::Store;

use super::deployments::Deployment;
use super::visit::carried;
use super::{Apps, Lasting, Told, cookies, flow, parameters};
use crate::error::AccessFailure;

/// Who makes a request to the control plane
#[derive(Debug)]
pub(crate) struct SignedIn {
    /// The holder of the session, whose end is the one that this request leaves it with
    pub(crate) holder: KeyHolder,
    pub(crate) subject: Subject,
    /// Where the session token was
    pub(crate) source: Source,
}

/// Finds who makes a request, at the cost of one question
///
/// # Errors
///
/// [`AccessFailure::SignedOut`] and what else stops a request that demands a session.
pub(crate) async fn signed_in<S: Store>(
    apps: &Apps<S>,
    headers: &HeaderMap,
    query: &str,
    client: Option<IpAddr>,
    now: SystemTime,
) -> Result<SignedIn, AccessFailure> {
    let parameters = parameters(query);
    let names = &apps.deployments.primary.cookie_names;
    let carried = carried(headers, cookies(headers), &parameters);
    let (source, token) = match carried.session_token(names) {
        Ok(Some(found)) => found,
        Ok(None) => return Err(AccessFailure::SignedOut(None)),
        Err(_) => return Err(AccessFailure::SignedOut(Some(SessionDenial::UnknownKey))),
    };
    let tokens = [token];
    let holders = apps.store.holders(&tokens).await.map_err(AccessFailure::Store)?;
    let [token] = tokens;
    let holder = holders.into_iter().find(|holder| holder.key.id == token.id());
    let session = authenticate(&token, holder.as_ref(), apps.terms(), now)
        .map_err(|refusal| AccessFailure::SignedOut(Some(refusal)))?;
    let mut holder = holder.ok_or(AccessFailure::SignedOut(None))?;
    apps.write_back(&holder, session, client);
    let end = session.update.and_then(|update| update.expires_at);
    holder.key.expires_at = end.unwrap_or(holder.key.expires_at);
    let subject = holder.subject(apps.roles());
    Ok(SignedIn { holder, subject, source })
}

/// Whether a request that changes something comes from the dashboard's own pages, if it
/// comes from a browser's page at all
///
/// Apps are on hosts of the same site, so the browser sends them the dashboard's cookies
/// however these are marked. It also says where the page is from.
pub(crate) fn same_origin(headers: &HeaderMap, source: Source, dashboard: &HttpUrl) -> bool {
    if !matches!(source, Source::SessionCookie) {
        return true;
    }
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<HttpUrl>().ok());
    origin.is_some_and(|origin| {
        origin.scheme() == dashboard.scheme()
            && origin.host() == dashboard.host()
            && origin.effective_port() == dashboard.effective_port()
    })
}

/// Ends the session an app host's cookie carries, and goes to the dashboard
pub(super) async fn app_log_out<S: Store>(
    apps: &Apps<S>,
    request: &flow::Request<'_>,
    deployment: &Deployment,
) -> Told {
    let method = AccessMethod::Subdomain;
    let names = &deployment.cookie_names;
    let carried = carried(request.headers, cookies(request.headers), &[]);
    let tokens = carried.app_session_tokens(names, method).into_iter();
    let tokens: Vec<_> =
        tokens.filter(|(source, _)| *source == Source::AppCookie).map(|(_, token)| token).collect();
    if !tokens.is_empty() {
        let holders = match apps.store.holders(&tokens).await {
            Ok(holders) => holders,
            Err(error) => return AccessFailure::Store(error).told(),
        };
        for token in &tokens {
            let holder = holders.iter().find(|holder| holder.key.id == token.id());
            let good = authenticate(token, holder, apps.terms(), request.now).is_ok();
            let Some(holder) = holder.filter(|_| good) else { continue };
            let others = OtherSessions::ended_by(holder, &holder.subject(apps.roles()));
            if let Err(error) = apps.store.log_out(&holder.key, others).await {
                return AccessFailure::Store(error).told();
            }
        }
    }
    let domain = deployment.app_hosts.as_ref().map(|hosts| hosts.domain());
    let gone = apps.cookies.bake(names.app_session(method), "", "/", domain, Lasting::Gone);
    let dashboard = apps.config.access_url.to_string();
    Told::redirect(StatusCode::SEE_OTHER, dashboard).with_cookie(gone)
}
