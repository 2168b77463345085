use std::net::IpAddr;
use std::time::SystemTime;

use app_authz::AccessMethod;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderMap, SET_COOKIE};
use hyper::{Response, StatusCode};
use serde::Serialize;
use store::Store;

use super::json;
use crate::apps::{Apps, Lasting, same_origin, signed_in};
use crate::error::{AccessFailure, Failure};

#[derive(Serialize)]
struct LoggedOut {
    message: &'static str,
}

/// `POST /api/v2/users/logout`
///
/// Ends the session and those its holder was given for apps, and takes their cookies
/// away. App tokens that are out still open their app, for a minute at most.
pub(crate) async fn log_out<S: Store>(
    apps: &Apps<S>,
    headers: &HeaderMap,
    query: &str,
    client: Option<IpAddr>,
    now: SystemTime,
) -> Result<Response<Full<Bytes>>, Failure> {
    let visitor = signed_in(apps, headers, query, client, now).await?;
    if !same_origin(headers, visitor.source, &apps.config.access_url) {
        return Err(AccessFailure::ForeignOrigin.into());
    }
    apps.store.log_out(&visitor.holder.key).await.map_err(AccessFailure::Store)?;

    let names = &apps.deployments.primary.cookie_names;
    let domain = apps.config.app_hosts.as_ref().map(|hosts| hosts.domain());
    let gone = [
        (names.session(), None),
        (names.app_session(AccessMethod::Path), None),
        (names.app_session(AccessMethod::Subdomain), domain),
    ];
    let mut response = json(StatusCode::OK, &LoggedOut { message: "Logged out!" });
    for (name, domain) in gone {
        if let Some(cookie) = apps.cookies.bake(name, "", "/", domain, Lasting::Gone) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }
    Ok(response)
}
