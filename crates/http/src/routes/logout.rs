use app_audit::{ActKind, SubjectKind};
use app_authz::app::AccessMethod;
use app_authz::credential::{Expiry, LoginType, OtherSessions};
use http::StatusCode;
use http::header::{HeaderValue, LOCATION, SET_COOKIE};
use serde::Serialize;

use super::login;
use crate::acts::act;
use crate::apps::{AppService, Require};
use crate::context::Context;
use crate::error::{AccessError, Error};
use crate::oidc::AnyOidc;
use crate::ports::AppPorts;
use crate::reply::{Response, empty, json};

#[derive(Serialize)]
struct LoggedOut {
    message: &'static str,
}

/// `POST /api/v2/users/logout`
///
/// Ends the session and those for apps that were made from it, and deletes their cookies. A
/// session with the permission to end others also ends the user's sessions for apps of which it is
/// not known what they were made from. Checks refuse the app tokens of all of these within two
/// seconds.
pub(crate) async fn log_out<S: AppPorts>(
    apps: &AppService<S>,
    cx: &Context<'_>,
) -> Result<Response, Error> {
    let _ = end_session(apps, cx).await?;
    let response = json(StatusCode::OK, &LoggedOut { message: "Logged out!" });
    Ok(without_cookies(apps, response))
}

/// `POST /logout`
///
/// The same for the page at `/`, followed by a redirect to sign in; also if the session had
/// ended before. A session of an OpenID provider leads to the provider's page for signing out
/// first, if the configuration says so.
pub(crate) async fn from_page<S: AppPorts>(
    apps: &AppService<S>,
    oidc: Option<&dyn AnyOidc>,
    cx: &Context<'_>,
) -> Result<Response, Error> {
    match end_session(apps, cx).await {
        Ok(login_type) => {
            let is_of_provider = login_type == LoginType::Oidc;
            let oidc = oidc.filter(|oidc| is_of_provider && oidc.config().provider_logout);
            let response = match oidc {
                Some(oidc) => at_provider(apps, oidc, cx).await,
                None => login::redirect(),
            };
            Ok(without_cookies(apps, response))
        }
        Err(AccessError::SignedOut(_)) => Ok(login::redirect()),
        Err(error) => Err(error.into()),
    }
}

async fn end_session<S: AppPorts>(
    apps: &AppService<S>,
    cx: &Context<'_>,
) -> Result<LoginType, AccessError> {
    let caller = Require::session().same_origin().check(apps, cx).await?;
    let others = OtherSessions::ended_by(&caller.holder, &caller.subject);
    let key = &caller.holder.key;
    apps.end_session(key, others, cx.now).await.map_err(AccessError::store)?;
    apps.acts
        .record(act(ActKind::LogOut, cx).user(key.user.0).subject(SubjectKind::Token, &key.id));
    Ok(key.login_type)
}

/// Redirects to the provider's page for signing out, which leads to that for signing in
async fn at_provider<S>(apps: &AppService<S>, oidc: &dyn AnyOidc, cx: &Context<'_>) -> Response {
    let back = format!("{}/login", apps.config.access_url.origin());
    let url = oidc.logout_url(&back, cx.now).await;
    let url = url.and_then(|url| HeaderValue::from_str(&url).ok());
    url.map_or_else(login::redirect, |url| empty(StatusCode::SEE_OTHER, LOCATION, url))
}

fn without_cookies<S>(apps: &AppService<S>, mut response: Response) -> Response {
    let names = &apps.deployments.primary.cookie_names;
    let domain = apps.config.app_hosts.as_ref().map(|hosts| hosts.domain());
    let deleted = [
        (names.session(), None),
        (names.app_session(AccessMethod::Path), None),
        (names.app_session(AccessMethod::Subdomain), domain),
    ];
    let bound = Some(names.new_session()).filter(|name| *name != names.session());
    for (name, domain) in deleted.into_iter().chain(bound.map(|name| (name, None))) {
        if let Some(cookie) = apps.cookies.set(name, "", "/", domain, Expiry::Delete) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }
    response
}
