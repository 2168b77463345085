//! The dashboard's side of app access: where apps are, and how their hosts get a session

use app_authz::Error as AuthzError;
use app_authz::address::{HttpUrl, login};
use app_authz::credential::{AppSession, NewKey, SessionDenial, SessionToken};
use app_authz::token::{API_KEY_PARAMETER, NONCE_PARAMETER, Nonce, SealedSession, without_api_key};
use http::StatusCode;
use serde::Serialize;

use crate::apps::{
    AppService, Refusal, Require, SignedIn, may_open, parameter, parameters, with_query,
};
use crate::context::Context;
use crate::error::{AccessError, Error, Rejection, SIGNED_OUT};
use crate::ports::AppPorts;
use crate::random::with_random;
use crate::reply::{Reply, Response, json};

#[derive(Serialize)]
struct Host {
    host: String,
}

/// `GET /api/v2/applications/host`
pub(crate) async fn host<S: AppPorts>(
    apps: &AppService<S>,
    cx: &Context<'_>,
) -> Result<Response, Error> {
    Require::session().check(apps, cx).await?;
    let port = apps.config.access_url.port();
    let hosts = apps.config.app_hosts.clone().map(|hosts| hosts.or_port(port).to_string());
    Ok(json(StatusCode::OK, &Host { host: hosts.unwrap_or_default() }))
}

/// `GET /api/v2/applications/auth-redirect`
///
/// Redirects a signed-in visitor back to the app, with a session for apps alone that is sealed
/// into the address, if the visitor may open the app. That session opens only apps that the
/// visitor's own session opens. The address is good on that host alone. If the visitor comes from
/// an app's host of ours, it is good in that browser alone.
pub(crate) async fn auth_redirect<S: AppPorts>(
    apps: &AppService<S>,
    cx: &Context<'_>,
) -> Result<Response, Error> {
    let dashboard = &apps.config.access_url;
    let (back, caller) = match caller(apps, cx).await {
        Ok((back, Ok(caller))) => (back, caller),
        Ok((_, Err(refusal))) => {
            return Ok(refusal.into_reply(cx.purpose()).into_response());
        }
        Err(AccessError::SignedOut(denial))
            if cx.purpose().is_shown_pages() && denial.is_none_or(|denial| !denial.is_final()) =>
        {
            let login = login(dashboard, SIGNED_OUT, &with_query(cx.path, cx.query));
            let login = login.map_err(AccessError::Internal)?;
            let reply = Reply::redirect(StatusCode::SEE_OTHER, login.to_string());
            return Ok(reply.into_response());
        }
        Err(AccessError::SignedOut(Some(SessionDenial::SeveralUsers))) => {
            let reply = Rejection::SeveralUsers.into_reply(cx.purpose());
            return Ok(reply.into_response());
        }
        Err(error) => return Err(error.into()),
    };
    let nonce = nonce(cx)?;
    let is_for_program = nonce.is_none() && caller.is_program();
    let SignedIn { holder, subject, .. } = caller;
    let longest = apps.config.session_duration;
    let session = AppSession::of(&holder, &subject, apps.terms(), longest, cx.now);
    let session = session.ok_or(AccessError::NotFound)?;

    let token =
        with_random(|fill| SessionToken::generate(fill)).map_err(|_| AccessError::NoRandomness)?;
    let key = NewKey::for_apps(&token, &holder.key, &session, cx.client, cx.now);
    apps.store.insert(&key).await.map_err(AccessError::store)?;
    let sealed = SealedSession::from(token)
        .with_nonce(nonce)
        .with_host(back.host())
        .with_program(is_for_program);
    let sealed = apps.keys.seals.seal(&*apps.store, &sealed, cx.now).await;
    let sealed = sealed.map_err(AccessError::Internal)?;

    // The first seal in an address counts, so one that is there already has to go.
    let others = without_api_key("/", back.query().unwrap_or_default());
    let others = others.strip_prefix("/?").map(|query| format!("{query}&")).unwrap_or_default();
    let back = back.with_query(&format!("{others}{API_KEY_PARAMETER}={sealed}"));
    let back = back.map_err(AccessError::Internal)?;
    let reply = Reply::redirect(StatusCode::SEE_OTHER, back.to_string());
    Ok(reply.into_response())
}

/// The address of the app to return to, and the user, if the user may open the app
async fn caller<S: AppPorts>(
    apps: &AppService<S>,
    cx: &Context<'_>,
) -> Result<(HttpUrl, Result<SignedIn, Refusal>), AccessError> {
    match redirect_uri(apps, cx).await {
        Ok(back) => {
            let caller = may_open(apps, cx, &back).await?;
            Ok((back, caller))
        }
        // A caller without a session learns nothing about hosts.
        Err(error) => Require::session().check(apps, cx).await.and(Err(error)),
    }
}

/// The nonce of the browser, if it comes from an app's host of ours
fn nonce(cx: &Context<'_>) -> Result<Option<Nonce>, AccessError> {
    let parameters = parameters(cx.query);
    let nonce = parameter(&parameters, NONCE_PARAMETER).map(str::parse).transpose();
    nonce.map_err(|_| {
        AccessError::invalid("Invalid authd_nonce.", "It is not what an app's host has sent.")
    })
}

/// The address of the app to return to, if it is on a host of apps
async fn redirect_uri<S: AppPorts>(
    apps: &AppService<S>,
    cx: &Context<'_>,
) -> Result<HttpUrl, AccessError> {
    let parameters = parameters(cx.query);
    let uri = parameter(&parameters, "redirect_uri").filter(|uri| !uri.is_empty());
    let uri = uri.ok_or_else(|| {
        let detail = "It is the address of the app to go back to.";
        AccessError::invalid("Missing redirect_uri query parameter.", detail)
    })?;
    let registered = apps.deployments.registered(&*apps.store).await.map_err(AccessError::store)?;
    registered.redirect_hosts().check(uri).map_err(|error| {
        let detail = match error {
            AuthzError::ForeignHost(_) => "Its host and port are neither an app's nor a proxy's.",
            _ => "It is not a safe `http` or `https` URL.",
        };
        AccessError::invalid("Invalid redirect_uri.", detail)
    })
}
