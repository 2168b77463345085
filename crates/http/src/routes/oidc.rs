//! Signing in at an OpenID provider, and its word that a user has signed out

use std::sync::Arc;

use app_audit::{ActKind, SubjectKind};
use app_authz::address::encode_query_value;
use app_authz::credential::Expiry;
use http::StatusCode;
use http::header::{HeaderValue, LOCATION, SET_COOKIE};
use oidc_client::Callback;
use serde::Serialize;

use super::login;
use crate::acts::act;
use crate::apps::{AppService, cookies, parameter, parameters};
use crate::body;
use crate::context::{Body, Context};
use crate::error::Error;
use crate::oidc::{AnyOidc, LIFETIME, OidcConfig, OidcError, OidcRefusal, Returned, cookie_suffix};
use crate::ports::AppPorts;
use crate::reply::{Response, SignInPage, empty, json};
use crate::request_facts::log_request;

/// The path at which signing in begins, and then leads to `back`
pub(super) fn begin_at(back: &str) -> String {
    format!("{}?redirect={}", OidcConfig::CALLBACK, encode_query_value(back))
}

/// `GET /api/v2/users/oidc/callback`
///
/// Without an answer of the provider in the query, sends the browser there. With one, signs it in,
/// and sends it on to where it wanted to go.
pub(crate) async fn callback<S: AppPorts>(
    apps: &AppService<S>,
    oidc: &Arc<dyn AnyOidc>,
    cx: &Context<'_>,
) -> Result<Response, Error> {
    match Callback::parse(cx.query) {
        Some(callback) => arrive(apps, oidc, cx, callback).await,
        None => leave(apps, &**oidc, cx).await,
    }
}

async fn leave<S: AppPorts>(
    apps: &AppService<S>,
    oidc: &dyn AnyOidc,
    cx: &Context<'_>,
) -> Result<Response, Error> {
    let parameters = parameters(cx.query);
    let back = parameter(&parameters, "redirect").unwrap_or_default();
    // A cookie has room for so much. From the start page every app can be reached.
    let back = if back.len() <= MAX_BACK { back } else { "/" };
    let leaving = match oidc.begin(back, cx.now).await {
        Ok(leaving) => leaving,
        Err(error) => return refused(oidc, cx, back, error),
    };
    let location = HeaderValue::from_str(&leaving.url).unwrap_or(HeaderValue::from_static("/"));
    let mut response = empty(StatusCode::SEE_OTHER, LOCATION, location);
    // Flows that were not ended would add up until no request had room for them.
    let kept = own_cookies(apps, cx);
    if kept.len() >= MAX_FLOWS {
        delete(apps, &mut response, kept.iter().map(|(name, _)| &**name));
    }
    let prefix = apps.deployments.primary.cookie_names.oidc();
    let until = cx.now.checked_add(LIFETIME).map_or(Expiry::Session, Expiry::At);
    let name = format!("{prefix}{}", leaving.name);
    if let Some(cookie) = apps.cookies.set(&name, &leaving.sealed, "/", None, until) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

async fn arrive<S: AppPorts>(
    apps: &AppService<S>,
    oidc: &Arc<dyn AnyOidc>,
    cx: &Context<'_>,
    callback: Callback,
) -> Result<Response, Error> {
    let parameters = parameters(cx.query);
    let state = parameter(&parameters, "state").unwrap_or_default();
    let kept = own_cookies(apps, cx);
    let (names, sealed): (Vec<_>, Vec<_>) = kept.into_iter().unzip();
    let kept = match oidc.find(&sealed, state, cx.now).await {
        Ok(kept) => kept,
        Err(error) => {
            apps.metrics().logged_in(false);
            record_refusal(apps, cx, &error);
            return refused(&**oidc, cx, "/", error);
        }
    };
    let (at, ip, lifetime) = (cx.now, cx.client, apps.config.session_duration);
    let returned = Returned { flow: kept.flow, callback, at, ip, lifetime };
    let outcome = Arc::clone(oidc).finish(returned).await;
    apps.metrics().logged_in(outcome.is_ok());
    let own = names.iter().filter(|name| name.ends_with(cookie_suffix(state)));
    let mut response = match outcome {
        Ok(arrived) => {
            let (user, key, new) = (arrived.user, arrived.token.id(), arrived.is_new);
            let status = StatusCode::SEE_OTHER.as_u16();
            log_request!(info, &cx.facts, status, %user, key, new, "logged in at the provider");
            let done = act(ActKind::LogIn, cx).user(user.0).subject(SubjectKind::Token, key);
            apps.acts.record(done.proof(PROOF).detail_value("new_user", new.into()));
            let mut response = empty(StatusCode::SEE_OTHER, LOCATION, login::own_path(&kept.back));
            let name = apps.deployments.primary.cookie_names.new_session();
            let token = arrived.token.reveal();
            if let Some(cookie) = apps.cookies.set(name, token, "/", None, Expiry::Session) {
                response.headers_mut().append(SET_COOKIE, cookie);
            }
            response
        }
        Err(error) => {
            record_refusal(apps, cx, &error);
            refused(&**oidc, cx, &kept.back, error)?
        }
    };
    delete(apps, &mut response, own.map(|name| &**name));
    Ok(response)
}

/// `POST /api/v2/users/oidc/backchannel-logout`
///
/// The provider says that a user has signed out there (OpenID Connect Back-Channel Logout 1.0).
/// Answers 200 also if no session was left, and 400 if the token is not good.
pub(crate) async fn backchannel_logout<S: AppPorts>(
    apps: &AppService<S>,
    oidc: &dyn AnyOidc,
    cx: &Context<'_>,
    body: Body,
) -> Result<Response, Error> {
    let body = body::read(body, apps.bounds).await?;
    let fields = parameters(std::str::from_utf8(&body).unwrap_or_default());
    let token = parameter(&fields, "logout_token").unwrap_or_default();
    match oidc.log_out(token, cx.now).await {
        Ok(ended) => {
            let ids: Vec<String> = ended.iter().map(|(id, _)| id.clone()).collect();
            apps.sessions_ended(&ids, cx.now);
            for (key, user) in &ended {
                let status = StatusCode::OK.as_u16();
                log_request!(info, &cx.facts, status, %user, key, "logged out at the provider");
                let done = act(ActKind::LogOut, cx).user(user.0).subject(SubjectKind::Token, key);
                apps.acts.record(done.proof(PROOF));
            }
            Ok(json(StatusCode::OK, &Ended { ended: ended.len() }))
        }
        Err(OidcError::Failed(error)) => Err(error.into()),
        Err(OidcError::Unavailable { cause }) => Err(Error::ProviderUnavailable { cause }),
        Err(OidcError::Refused(OidcRefusal { class, cause, .. })) => {
            let refused = act(ActKind::LogOut, cx).proof(PROOF).refused(class);
            apps.acts.record(refused);
            if apps.admission().logs(cx.client.into()) {
                let status = StatusCode::BAD_REQUEST.as_u16();
                log_request!(warn, &cx.facts, status, class, cause, "logout token refused");
            }
            let error = OauthError { error: "invalid_request", error_description: class };
            Ok(json(StatusCode::BAD_REQUEST, &error))
        }
    }
}

/// How many sessions have ended
#[derive(Serialize)]
struct Ended {
    ended: usize,
}

/// An error as OAuth 2.0 has it (RFC 6749, section 5.2)
#[derive(Serialize)]
struct OauthError {
    error: &'static str,
    error_description: &'static str,
}

/// The page with the reason, from which the visitor can try again
fn refused(
    oidc: &dyn AnyOidc,
    cx: &Context<'_>,
    back: &str,
    error: OidcError,
) -> Result<Response, Error> {
    let words = match error {
        OidcError::Failed(error) => return Err(error.into()),
        OidcError::Unavailable { cause } => {
            let error = Error::ProviderUnavailable { cause };
            error.log(&cx.facts);
            let problem = error.problem();
            let words = format!("{} {}", problem.message, problem.detail);
            let form = login::Form::default();
            let page = SignInPage { error: Some(&words), ..form.page(back, Some(oidc)) };
            let page = page.into_response(problem.status);
            return Ok(problem.with_headers(page));
        }
        OidcError::Refused(refusal) => refusal.words,
    };
    let form = login::Form::default();
    let page = SignInPage { error: Some(words), ..form.page(back, Some(oidc)) };
    Ok(page.into_response(StatusCode::UNAUTHORIZED))
}

/// Writes what happened to the audit and the log
fn record_refusal<S: AppPorts>(apps: &AppService<S>, cx: &Context<'_>, error: &OidcError) {
    let OidcError::Refused(OidcRefusal { class, user, cause, .. }) = error else { return };
    let mut refused = act(ActKind::LogIn, cx).proof(PROOF).refused(class);
    if let Some(user) = user {
        refused = refused.user(user.0);
    }
    apps.acts.record(refused);
    // A stranger may not fill the log.
    if apps.admission().logs(cx.client.into()) {
        let (status, cause) = (StatusCode::UNAUTHORIZED.as_u16(), cause.as_deref());
        log_request!(warn, &cx.facts, status, class, cause, "log-in at the provider refused");
    }
}

/// Names and values of the cookies of this browser's flows
fn own_cookies<S>(apps: &AppService<S>, cx: &Context<'_>) -> Vec<(String, String)> {
    let prefix = apps.deployments.primary.cookie_names.oidc();
    let all = cookies(cx.headers());
    let own = all.into_iter().filter(|(name, _)| name.starts_with(prefix));
    own.take(2 * MAX_FLOWS).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn delete<'a, S>(
    apps: &AppService<S>,
    response: &mut Response,
    names: impl Iterator<Item = &'a str>,
) {
    for name in names {
        if let Some(cookie) = apps.cookies.set(name, "", "/", None, Expiry::Delete) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }
}

/// The kind of proof in the audit
const PROOF: &str = "oidc";

/// A browser's limit for a cookie is 4,096 bytes, and the sealed text grows by a third
const MAX_BACK: usize = 2_600;

/// Sign-ins of one browser that may be under way
const MAX_FLOWS: usize = 4;
