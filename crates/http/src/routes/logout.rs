use std::net::IpAddr;
use std::time::SystemTime;

use app_authz::app::AccessMethod;
use app_authz::credential::OtherSessions;
use bytes::Bytes;
use http::header::{HeaderMap, SET_COOKIE};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use store::Store;

use super::{json, login};
use crate::apps::{Apps, Lasting, same_origin, signed_in};
use crate::error::{AccessFailure, Failure};

#[derive(Serialize)]
struct LoggedOut {
    message: &'static str,
}

/// `POST /api/v2/users/logout`
///
/// Ends the session and those its holder was given for apps, and takes their cookies
/// away. A session that may do too little to end others ends alone. App tokens that are out
/// still open their app, for a minute at most.
pub(crate) async fn log_out<S: Store>(
    apps: &Apps<S>,
    headers: &HeaderMap,
    query: &str,
    client: Option<IpAddr>,
    now: SystemTime,
) -> Result<Response<Full<Bytes>>, Failure> {
    end(apps, headers, query, client, now).await?;
    let response = json(StatusCode::OK, &LoggedOut { message: "Logged out!" });
    Ok(without_cookies(apps, response))
}

/// `POST /logout`
///
/// The same for the page at `/`, whose browser then is to sign in; also if there was no
/// session left to end.
pub(crate) async fn from_page<S: Store>(
    apps: &Apps<S>,
    headers: &HeaderMap,
    query: &str,
    client: Option<IpAddr>,
    now: SystemTime,
) -> Result<Response<Full<Bytes>>, Failure> {
    match end(apps, headers, query, client, now).await {
        Ok(()) => Ok(without_cookies(apps, login::redirect())),
        Err(AccessFailure::SignedOut(_)) => Ok(login::redirect()),
        Err(failure) => Err(failure.into()),
    }
}

async fn end<S: Store>(
    apps: &Apps<S>,
    headers: &HeaderMap,
    query: &str,
    client: Option<IpAddr>,
    now: SystemTime,
) -> Result<(), AccessFailure> {
    let visitor = signed_in(apps, headers, query, client, now).await?;
    if !same_origin(headers, visitor.source, &apps.config.access_url) {
        return Err(AccessFailure::ForeignOrigin);
    }
    let others = OtherSessions::ended_by(&visitor.holder, &visitor.subject);
    apps.store.log_out(&visitor.holder.key, others).await.map_err(AccessFailure::Store)
}

fn without_cookies<S>(
    apps: &Apps<S>,
    mut response: Response<Full<Bytes>>,
) -> Response<Full<Bytes>> {
    let names = &apps.deployments.primary.cookie_names;
    let domain = apps.config.app_hosts.as_ref().map(|hosts| hosts.domain());
    let gone = [
        (names.session(), None),
        (names.app_session(AccessMethod::Path), None),
        (names.app_session(AccessMethod::Subdomain), domain),
    ];
    for (name, domain) in gone {
        if let Some(cookie) = apps.cookies.bake(name, "", "/", domain, Lasting::Gone) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }
    response
}
