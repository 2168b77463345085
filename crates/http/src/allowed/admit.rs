//! One flow for proxies, for hosts that carry apps themselves, and for requests that no carrier
//! checked

use std::sync::Arc;

use app_authz::credential::Withheld;
use http::Method;
use http::request::Parts;

use crate::apps::{Admitted, AppService, Upstream, admit};
use crate::context::Context;
use crate::error::{AccessError, Error};
use crate::ports::AppPorts;
use crate::reply::{Problem, Reply};

/// Admits a visit whose request is at hand, and not a proxy's check about it
pub(crate) async fn admit_direct<S: AppPorts>(
    apps: &Arc<AppService<S>>,
    cx: &Context<'_>,
) -> Result<Admitted, Reply> {
    // A tunnel, and `OPTIONS *`, have no path that an app could be asked for.
    let has_path = cx.path.is_empty() || cx.path.starts_with('/');
    if cx.head.method == Method::CONNECT || !has_path {
        let detail = "Only a request for a path can be carried to an app.";
        let error = Error::from(AccessError::invalid("The request is not allowed.", detail));
        return Err(failure(cx, error.problem()));
    }
    let preflight = cx.head.method == Method::OPTIONS;
    admit_visitor(apps, cx, has_bare_mark(cx.head), Upstream::Apps, preflight).await
}

/// Whether the query is there, and empty
pub(crate) fn has_bare_mark(head: &Parts) -> bool {
    head.uri.query().is_some_and(str::is_empty)
}

/// Admits a visit whose carrier requests [`Admitted::uri`] from the app, or replies to the visitor
///
/// `visitor` has host, path, query and method of the visitor, also if a proxy asks. With
/// `has_bare_mark` the visitor's address ends with the question mark of an empty query, which
/// [`Admitted::uri`] then keeps: some apps distinguish `/x?` from `/x`. With `preflight` the carrier
/// can relay the answer to a preflight request.
pub(crate) async fn admit_visitor<S: AppPorts>(
    apps: &Arc<AppService<S>>,
    visitor: &Context<'_>,
    has_bare_mark: bool,
    upstream: Upstream,
    preflight: bool,
) -> Result<Admitted, Reply> {
    if visitor.headers().keys().any(|name| Withheld::is_imitation(name.as_str())) {
        let detail = "A name that begins with `X-Authd-` must not be written with underscores.";
        let error = Error::from(AccessError::invalid("A header is not allowed.", detail));
        return Err(failure(visitor, error.problem()));
    }
    let mut admitted = admit(apps, visitor, upstream, preflight).await?;
    if has_bare_mark {
        admitted.uri.push('?');
    }
    Ok(admitted)
}

/// The reply about a problem to a visitor of an app
pub(crate) fn failure(visitor: &Context<'_>, problem: Problem<'_>) -> Reply {
    match visitor.purpose().is_shown_pages() {
        true => Reply::page(problem),
        false => Reply::json(&problem),
    }
}
