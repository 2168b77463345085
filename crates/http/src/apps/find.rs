use std::sync::Arc;

use app_authz::address::HostMeaning;
use app_authz::app::{AccessMethod, RequestError, UncheckedRequest};
use app_authz::{AppRequest, Error};

use super::origin::Page;
use super::{AppService, Visit, session};
use crate::context::Context;
use crate::error::Rejection;
use crate::ports::AppPorts;
use crate::reply::Reply;

/// A visit, and what it asks for
pub(super) struct Found<'a> {
    pub(super) visit: Visit<'a>,
    /// An error if the names in it cannot be those of an app
    pub(super) request: Result<Arc<AppRequest>, Rejection>,
    /// Whether the host is one that can be remembered, and is not yet
    pub(super) is_new: bool,
}

/// Finds the app that host and path ask for
///
/// Errs with the reply if they do not name one. A request to log out of apps is done here, and
/// its reply returned in the same way.
pub(super) async fn find_visit<'a, S: AppPorts>(
    apps: &AppService<S>,
    cx: &Context<'a>,
) -> Result<Found<'a>, Reply> {
    let page =
        |visit: &Visit<'_>, owner: &str| Page::of_visit(visit, owner, &apps.config, cx.headers());
    if let Some(request) = apps.deployments.recent_hosts.get(cx.host) {
        let at = (Arc::clone(&apps.deployments.primary), cx.host);
        let mut visit = Visit::subdomain(at, cx.path, cx.query);
        visit.page = page(&visit, request.user());
        return Ok(Found { visit, request: Ok(request), is_new: false });
    }
    let rejected = |rejection| reject(cx, rejection);
    let found = apps.deployments.find(&*apps.store, cx.host).await;
    let (deployment, meaning) = found
        .map_err(|error| rejected(Rejection::Directory(error.into())))?
        .ok_or_else(|| rejected(Rejection::NoApp))?;
    let (mut visit, request): (Visit<'_>, UncheckedRequest) = match meaning {
        HostMeaning::Logout => {
            let logged_out = Box::pin(session::log_out_of_apps(apps, cx, &deployment)).await;
            return Err(
                logged_out.unwrap_or_else(|error| error.reply(&cx.facts, cx.is_of_person()))
            );
        }
        HostMeaning::Malformed(label) => return Err(rejected(Rejection::MalformedHost(label))),
        HostMeaning::App(name) => {
            (Visit::subdomain((deployment, cx.host), cx.path, cx.query), name.into())
        }
        HostMeaning::Dashboard => {
            Visit::path((deployment, cx.host), cx.path, cx.query).map_err(rejected)?
        }
    };
    if visit.method == AccessMethod::Path && apps.config.disable_path_apps {
        return Err(rejected(Rejection::PathAppsDisabled));
    }
    visit.page = page(&visit, &request.username_or_id);
    let is_new = visit.method == AccessMethod::Subdomain && visit.deployment.primary;
    Ok(Found { visit, request: checked(request).map(Arc::new), is_new })
}

/// Checks a request whose names a visitor wrote, so that a mistake in them is not a server's
pub(super) fn checked(request: UncheckedRequest) -> Result<AppRequest, Rejection> {
    AppRequest::try_from(request).map_err(|error| match error {
        Error::InvalidRequest(RequestError::Me) => Rejection::Me,
        _ => Rejection::NoApp,
    })
}

/// Logs the rejection and turns it into the reply to the visitor
pub(super) fn reject(cx: &Context<'_>, rejection: Rejection) -> Reply {
    rejection.log(&cx.facts);
    rejection.into_reply(cx.purpose())
}
