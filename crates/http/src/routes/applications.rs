//! The dashboard's side of app access: where apps are, and how their hosts get a session

use std::net::IpAddr;
use std::time::SystemTime;

use app_authz::Error;
use app_authz::address::{HttpUrl, login};
use app_authz::credential::{AppSession, NewKey, SessionToken};
use app_authz::token::{API_KEY_PARAMETER, without_api_key};
use bytes::Bytes;
use http::header::HeaderMap;
use http::{Response, StatusCode};
use http_body_util::Full;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use store::Store;

use super::json;
use crate::apps::{
    Apps, Lasting, SignedIn, Told, accepts_html, cookies, parameter, parameters, signed_in,
    with_query,
};
use crate::error::{AccessFailure, Failure, SIGNED_OUT};
use crate::pages::Page;
use crate::random::with_random;

#[derive(Serialize)]
struct Host {
    host: String,
}

/// `GET /api/v2/applications/host`
pub(crate) async fn host<S: Store>(
    apps: &Apps<S>,
    headers: &HeaderMap,
    query: &str,
    client: Option<IpAddr>,
    now: SystemTime,
) -> Result<Response<Full<Bytes>>, Failure> {
    signed_in(apps, headers, query, client, now).await?;
    let port = apps.config.access_url.port();
    let hosts = apps.config.app_hosts.clone().map(|hosts| hosts.or_port(port).to_string());
    Ok(json(StatusCode::OK, &Host { host: hosts.unwrap_or_default() }))
}

/// `GET /api/v2/applications/auth-redirect`
///
/// Sends a visitor who is signed in back to the app they came from, with a session that is
/// good for apps alone, sealed into the address. It opens no app that the visitor's own
/// session does not open.
pub(crate) async fn auth_redirect<S: Store>(
    apps: &Apps<S>,
    headers: &HeaderMap,
    path_and_query: (&str, &str),
    client: Option<IpAddr>,
    now: SystemTime,
) -> Result<Response<Full<Bytes>>, Failure> {
    let (path, query) = path_and_query;
    let dashboard = &apps.config.access_url;
    let SignedIn { holder, subject, .. } = match signed_in(apps, headers, query, client, now).await
    {
        Err(AccessFailure::SignedOut(why))
            if accepts_html(headers) && why.is_none_or(|why| !why.is_final()) =>
        {
            let login = login(dashboard, SIGNED_OUT, &with_query(path, query));
            let login = login.map_err(AccessFailure::Internal)?;
            return Ok(Told::redirect(StatusCode::SEE_OTHER, login.to_string())
                .into_response(&dashboard.to_string()));
        }
        signed_in => signed_in?,
    };
    let parameters = parameters(query);
    let uri =
        parameter(&parameters, "redirect_uri").filter(|uri| !uri.is_empty()).ok_or_else(|| {
            AccessFailure::Invalid {
                message: "Missing redirect_uri query parameter.",
                detail: "It is the address of the app to go back to.".to_owned(),
            }
        })?;
    let registered =
        apps.deployments.registered(&*apps.store).await.map_err(AccessFailure::Store)?;
    let back = registered.redirect_hosts().check(uri).map_err(|error| AccessFailure::Invalid {
        message: "Invalid redirect_uri.",
        detail: match error {
            Error::ForeignHost(_) => "Its host and port are neither an app's nor a proxy's.",
            _ => "It is no `http` or `https` URL that is safe to follow.",
        }
        .to_owned(),
    })?;
    let longest = apps.config.session_duration;
    let session = AppSession::of(&holder, &subject, apps.terms(), longest, now);
    let session = session.ok_or(AccessFailure::NotFound)?;
    let Some(attempts) = Attempts::of(apps, headers, &back, now).next() else {
        return Ok(loop_page(&dashboard.to_string()));
    };

    let token = with_random(|fill| SessionToken::generate(fill))
        .map_err(|_| AccessFailure::NoRandomness)?;
    let key = NewKey::for_apps(&token, holder.key.user, &session, client, now);
    apps.store.insert(&key).await.map_err(AccessFailure::Store)?;
    let sealed = apps.keys.seals.seal(&*apps.store, &token, now).await;
    let sealed = sealed.map_err(AccessFailure::Internal)?;

    // One that is there already would be the one that counts.
    let others = without_api_key("/", back.query().unwrap_or_default());
    let others = others.strip_prefix("/?").map(|query| format!("{query}&")).unwrap_or_default();
    let back = back.with_query(&format!("{others}{API_KEY_PARAMETER}={sealed}"));
    let back = back.map_err(AccessFailure::Internal)?;
    let cookie = apps.cookies.bake(
        &apps.cookies.named(ATTEMPTS),
        &attempts.to_string(),
        "/api/v2/applications/auth-redirect",
        None,
        Lasting::Session,
    );
    Ok(Told::redirect(StatusCode::SEE_OTHER, back.to_string())
        .with_cookie(cookie)
        .into_response(&dashboard.to_string()))
}

/// How often lately a browser was sent back to one host
///
/// A browser that keeps no cookies there would go in circles, and leave a session behind
/// each time. It does keep them here, or it would not be signed in.
struct Attempts {
    host: String,
    since: u64,
    count: u32,
}

impl Attempts {
    fn of<S>(apps: &Apps<S>, headers: &HeaderMap, back: &HttpUrl, now: SystemTime) -> Self {
        let digest = digest(&SHA256, back.authority().to_ascii_lowercase().as_bytes());
        let host: String = digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let name = apps.cookies.named(ATTEMPTS);
        let before = cookies(headers).into_iter().find(|(known, _)| *known == name);
        let before = before.and_then(|(_, value)| {
            let (known, rest) = value.split_once('.')?;
            let (since, count) = rest.split_once('.')?;
            let (since, count) = (since.parse::<u64>().ok()?, count.parse().ok()?);
            let lately = since <= now && now - since < LATELY;
            (known == host && lately).then_some(Self { host: host.clone(), since, count })
        });
        before.unwrap_or(Self { host, since: now, count: 0 })
    }

    /// One more, unless it is one too many
    fn next(self) -> Option<Self> {
        (self.count < MAX_ATTEMPTS).then(|| Self { count: self.count + 1, ..self })
    }
}

impl std::fmt::Display for Attempts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.host, self.since, self.count)
    }
}

fn loop_page(dashboard: &str) -> Response<Full<Bytes>> {
    let page = Page {
        status: StatusCode::BAD_REQUEST.as_u16(),
        title: "Sign-in Does Not Hold".to_owned(),
        text: "Your browser came back from the app several times without the session it was \
               given. It may block the app's cookies."
            .to_owned(),
        warnings: Vec::new(),
        retry: true,
    };
    Told::page(page).into_response(dashboard)
}

const ATTEMPTS: &str = "authd_app_sign_ins";

/// In so many seconds a browser may be sent back to one host
const LATELY: u64 = 30;
/// so many times, which a few tabs of one app may need
const MAX_ATTEMPTS: u32 = 5;
