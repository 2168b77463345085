//! The dashboard's side of app access: where apps are, and how their hosts get a session

use std::time::SystemTime;

use app_authz::Error as AuthzError;
use app_authz::address::{HttpUrl, login};
use app_authz::credential::{AppSession, NewKey, SessionToken};
use app_authz::token::{API_KEY_PARAMETER, without_api_key};
use http::StatusCode;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use store::Store;

use crate::apps::{
    AppService, Expiry, Require, SignedIn, cookies, parameter, parameters, with_query,
};
use crate::context::Context;
use crate::error::{AccessError, Error, SIGNED_OUT};
use crate::random::with_random;
use crate::reply::{Page, Reply, Response, json};

#[derive(Serialize)]
struct Host {
    host: String,
}

/// `GET /api/v2/applications/host`
pub(crate) async fn host<S: Store>(
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
/// into the address. That session opens only apps that the visitor's own session opens.
pub(crate) async fn auth_redirect<S: Store>(
    apps: &AppService<S>,
    cx: &Context<'_>,
) -> Result<Response, Error> {
    let dashboard = &apps.config.access_url;
    let SignedIn { holder, subject, .. } = match Require::session().check(apps, cx).await {
        Err(AccessError::SignedOut(denial))
            if cx.accepts_html() && denial.is_none_or(|denial| !denial.is_final()) =>
        {
            let login = login(dashboard, SIGNED_OUT, &with_query(cx.path, cx.query));
            let login = login.map_err(AccessError::Internal)?;
            let reply = Reply::redirect(StatusCode::SEE_OTHER, login.to_string());
            return Ok(reply.into_response(&apps.dashboard()));
        }
        checked => checked?,
    };
    let back = redirect_uri(apps, cx).await?;
    let longest = apps.config.session_duration;
    let session = AppSession::of(&holder, &subject, apps.terms(), longest, cx.now);
    let session = session.ok_or(AccessError::NotFound)?;
    let Some(attempts) = Attempts::of(apps, cx, &back).next() else {
        return Ok(loop_page(&apps.dashboard()));
    };

    let token =
        with_random(|fill| SessionToken::generate(fill)).map_err(|_| AccessError::NoRandomness)?;
    let key = NewKey::for_apps(&token, holder.key.user, &session, cx.client, cx.now);
    apps.store.insert(&key).await.map_err(AccessError::Store)?;
    let sealed = apps.keys.seals.seal(&*apps.store, &token, cx.now).await;
    let sealed = sealed.map_err(AccessError::Internal)?;

    // The first seal in an address counts, so one that is there already has to go.
    let others = without_api_key("/", back.query().unwrap_or_default());
    let others = others.strip_prefix("/?").map(|query| format!("{query}&")).unwrap_or_default();
    let back = back.with_query(&format!("{others}{API_KEY_PARAMETER}={sealed}"));
    let back = back.map_err(AccessError::Internal)?;
    let cookie = apps.cookies.set(
        &apps.cookies.named(ATTEMPTS),
        &attempts.to_string(),
        "/api/v2/applications/auth-redirect",
        None,
        Expiry::Session,
    );
    let reply = Reply::redirect(StatusCode::SEE_OTHER, back.to_string()).with_cookie(cookie);
    Ok(reply.into_response(&apps.dashboard()))
}

/// The address of the app to return to, if it is on a host of apps
async fn redirect_uri<S: Store>(
    apps: &AppService<S>,
    cx: &Context<'_>,
) -> Result<HttpUrl, AccessError> {
    let parameters = parameters(cx.query);
    let uri = parameter(&parameters, "redirect_uri").filter(|uri| !uri.is_empty());
    let uri = uri.ok_or_else(|| {
        let detail = "It is the address of the app to go back to.";
        AccessError::invalid("Missing redirect_uri query parameter.", detail)
    })?;
    let registered = apps.deployments.registered(&*apps.store).await.map_err(AccessError::Store)?;
    registered.redirect_hosts().check(uri).map_err(|error| {
        let detail = match error {
            AuthzError::ForeignHost(_) => "Its host and port are neither an app's nor a proxy's.",
            _ => "It is not a safe `http` or `https` URL.",
        };
        AccessError::invalid("Invalid redirect_uri.", detail)
    })
}

/// How often a browser was recently sent back to one host
///
/// A browser that blocks the cookies of that host would be redirected for ever, and leave a
/// session behind each time. It does keep cookies of this host, or it would not be signed in.
struct Attempts {
    host: String,
    since: u64,
    count: u32,
}

impl Attempts {
    fn of<S>(apps: &AppService<S>, cx: &Context<'_>, back: &HttpUrl) -> Self {
        let digest = digest(&SHA256, back.authority().to_ascii_lowercase().as_bytes());
        let host: String = digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let now = cx.now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let name = apps.cookies.named(ATTEMPTS);
        let before = cookies(cx.headers()).into_iter().find(|(known, _)| *known == name);
        let before = before.and_then(|(_, value)| {
            let (known, rest) = value.split_once('.')?;
            let (since, count) = rest.split_once('.')?;
            let (since, count) = (since.parse::<u64>().ok()?, count.parse().ok()?);
            let lately = since <= now && now - since < LATELY;
            (known == host && lately).then_some(Self { host: host.clone(), since, count })
        });
        before.unwrap_or(Self { host, since: now, count: 0 })
    }

    /// The count after one more attempt; `None` beyond the limit
    fn next(self) -> Option<Self> {
        (self.count < MAX_ATTEMPTS).then(|| Self { count: self.count + 1, ..self })
    }
}

impl std::fmt::Display for Attempts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.host, self.since, self.count)
    }
}

fn loop_page(dashboard: &str) -> Response {
    let page = Page {
        status: StatusCode::BAD_REQUEST.as_u16(),
        title: "Sign-in Does Not Hold".to_owned(),
        text: "Your browser came back from the app several times without the session it was \
               given. It may block the app's cookies."
            .to_owned(),
        warnings: Vec::new(),
        retry: true,
    };
    Reply::page(page).into_response(dashboard)
}

const ATTEMPTS: &str = "authd_app_sign_ins";

/// In so many seconds a browser may be sent back to one host
const LATELY: u64 = 30;
/// so many times, which a few tabs of one app may need
const MAX_ATTEMPTS: u32 = 5;
