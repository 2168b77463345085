//! Giving a session to the host of an app: only for an app that the user may open
//!
//! The decision is that of the visit which follows. Whatever else answers below the pattern of app
//! hosts, such as a server at a name that no app has, never gets a session.

use app_authz::address::{HostMeaning, HttpUrl};
use app_authz::app::{AccessMethod, UncheckedRequest};
use app_authz::credential::SessionToken;
use app_authz::{AppRequest, decide, resolve};

use super::admit::access_attempt;
use super::find::checked;
use super::gate::{Outcome, record};
use super::refusal::Refusal;
use super::{AccessAttempt, AppService, Require, SignedIn, Visit, presented_sessions, with_query};
use crate::context::Context;
use crate::error::{AccessError, Rejection};
use crate::ports::AppPorts;

/// Decides whether the caller may open the app at the address `back`
///
/// Costs one statement. A refusal is logged and recorded as that of a visit. A permission is
/// not recorded, since the visit follows.
///
/// # Errors
///
/// [`AccessError::SignedOut`] if the caller has no good session, and [`AccessError::Store`].
pub(crate) async fn may_open<S: AppPorts>(
    apps: &AppService<S>,
    cx: &Context<'_>,
    back: &HttpUrl,
) -> Result<Result<SignedIn, Refusal>, AccessError> {
    let mut attempt = match attempt(apps, cx, back).await? {
        Ok(attempt) => attempt,
        // Only a user learns what an address means.
        Err(rejection) => {
            Require::session().check(apps, cx).await?;
            rejection.log(&cx.facts);
            return Ok(Err(rejection.into()));
        }
    };
    let tokens: Vec<SessionToken> = attempt.tokens.iter().map(|(_, token)| token.clone()).collect();
    let ask = async || {
        let facts = apps.store.app_access(&attempt.request, &tokens).await;
        facts.map_err(AccessError::store)
    };
    let mut facts = ask().await?;
    let refreshed = apps.refresh_link(&attempt.tokens, &facts.holders, cx.now).await;
    if refreshed.map_err(AccessError::NotRefreshed)? {
        facts = ask().await?;
    }
    let caller = SignedIn::of(apps, cx, &attempt.tokens, &facts.holders)?;

    let request = attempt.request.clone().under(facts.agent_in_host);
    let target = resolve(&request, facts.workspace.as_deref(), apps.config.rules);
    let result = match &target {
        Ok(target) => decide(target, Some(&caller.subject), apps.config.rules)
            .map(drop)
            .map_err(Rejection::from),
        Err(error) => Err(attempt.unresolved(*error)),
    };
    if result.is_ok() {
        return Ok(Ok(caller));
    }
    let (target, user) = (target.ok(), &caller.holder);
    let visitor = Some(user.key.user);
    let outcome =
        Outcome { result, visitor, basis: None, target: target.as_ref(), request: &request };
    outcome.report(apps, &attempt, facts.workspace.as_deref());
    if let Some(facts) = facts.workspace.as_ref().filter(|_| outcome.is_recorded())
        && let Err(rejection) = record(apps, outcome.event(&mut attempt, facts)).await
    {
        return Ok(Err(rejection.into()));
    }
    let back = || Some(with_query(cx.path, cx.query));
    let refusal =
        |rejection| Refusal::from(rejection).of(apps, user, facts.workspace.as_deref(), back);
    Ok(match outcome.result {
        Ok(()) => Ok(caller),
        Err(rejection) => Err(refusal(rejection)),
    })
}

/// The visit to the address, with the sessions of the request at hand
///
/// # Errors
///
/// [`AccessError::SignedOut`] if there are no such sessions, and [`AccessError::Store`]. Returns
/// the rejection if the address does not name an app.
async fn attempt<S: AppPorts>(
    apps: &AppService<S>,
    cx: &Context<'_>,
    back: &HttpUrl,
) -> Result<Result<AccessAttempt, Rejection>, AccessError> {
    let tokens = presented_sessions(apps, cx)?;
    let host = back.authority();
    let found = apps.deployments.find(&*apps.store, &host).await;
    let Some((deployment, meaning)) = found.map_err(AccessError::store)? else {
        return Ok(Err(Rejection::NoApp));
    };
    let at = (deployment, &*host);
    let (path, query) = (back.path(), back.query().unwrap_or_default());
    let named: Result<(Visit<'_>, UncheckedRequest), _> = match meaning {
        HostMeaning::App(name) => Ok((Visit::subdomain(at, path, query), name.into())),
        HostMeaning::Dashboard if apps.config.disable_path_apps => Err(Rejection::PathAppsDisabled),
        HostMeaning::Dashboard => Visit::path(at, path, query),
        HostMeaning::Malformed(label) => Err(Rejection::MalformedHost(label)),
        HostMeaning::Logout => Err(Rejection::NoApp),
    };
    let named = named.and_then(|(visit, request)| Ok((checked(request)?, visit)));
    let is_app =
        |(request, _): &(AppRequest, Visit<'_>)| request.method() != AccessMethod::Terminal;
    let (request, visit) = match named {
        Ok(named) if is_app(&named) => named,
        Ok(_) => return Ok(Err(Rejection::NoApp)),
        Err(rejection) => return Ok(Err(rejection)),
    };
    // The request is for the dashboard, and no page of another app makes the visit yet.
    let attempt = access_attempt(cx, (&visit, request), tokens, None, None);
    Ok(Ok(AccessAttempt { is_foreign: false, ..attempt }))
}
