use app_audit::{ActKind, SubjectKind};
use app_authz::UserId;
use app_authz::address::{HostMeaning, encode_query_value};
use app_authz::app::UncheckedRequest;
use app_authz::credential::{
    CookieNames, Expiry, SessionDenial, SessionToken, Source, UserStatus, authenticate,
};
use app_authz::rbac::{Action, Object};
use http::StatusCode;
use http::header::{HeaderValue, LOCATION, SET_COOKIE};

use crate::acts::act;
use crate::apps::{
    AppService, AppsConfig, Cookies, parameter, parameters, presented_sessions, same_origin,
    with_query,
};
use crate::body;
use crate::context::{Body, Context};
use crate::error::{AccessError, Error, SIGNED_OUT};
use crate::oidc::AnyOidc;
use crate::ports::AppPorts;
use crate::reply::{PageLink, Response, ResponseBody, SignInPage, empty};
use crate::request_facts::log_request;

/// `GET /login`
///
/// Visitors without a session are sent here, in a deployment without a dashboard. In other
/// deployments the dashboard answers this path.
pub(crate) async fn page<S: AppPorts>(
    apps: &AppService<S>,
    oidc: Option<&dyn AnyOidc>,
    cx: &Context<'_>,
) -> Response {
    let parameters = parameters(cx.query);
    let back = parameter(&parameters, "redirect").unwrap_or_default();
    // A fixed sentence: a text from the address would let anyone put words on this page. A browser
    // without a session was perhaps never signed in.
    let message = parameter(&parameters, "message").map(|_| SIGNED_OUT);
    let message = message.filter(|_| presented_sessions(apps, cx).is_ok());
    let form = form(apps, back).await;
    SignInPage { message, ..form.page(back, oidc) }.into_response(StatusCode::OK)
}

/// `POST /login`
///
/// Takes a session token from the form, and sets it as the browser's session cookie.
pub(crate) async fn log_in<S: AppPorts>(
    apps: &AppService<S>,
    oidc: Option<&dyn AnyOidc>,
    cx: &Context<'_>,
    body: Body,
) -> Result<Response, Error> {
    if oidc.is_some_and(|oidc| !oidc.config().session_tokens) {
        return Err(AccessError::Forbidden.into());
    }
    // A page of another site must not sign its visitor in as another user.
    if !same_origin(cx.headers(), Source::SessionCookie, &apps.config.access_url) {
        return Err(AccessError::ForeignOrigin.into());
    }
    let body = body::read(body, apps.bounds).await?;
    let fields = parameters(std::str::from_utf8(&body).unwrap_or_default());
    let back = parameter(&fields, "redirect").unwrap_or_default();
    let token = parameter(&fields, "token").unwrap_or_default().trim();
    let outcome = good_token(apps, cx, token).await?;
    apps.metrics().logged_in(outcome.is_ok());
    let (token, user) = match outcome {
        Ok(good) => good,
        Err(refused) => {
            apps.acts.record(act(ActKind::LogIn, cx).refused("invalid_token"));
            // A stranger who tries tokens may not fill the log.
            if apps.admission().logs(cx.client.into()) {
                let status = StatusCode::UNAUTHORIZED.as_u16();
                log_request!(warn, &cx.facts, status, "log-in refused");
            }
            let form = form(apps, back).await;
            let page = SignInPage { error: Some(refused), ..form.page(back, oidc) };
            return Ok(page.into_response(StatusCode::UNAUTHORIZED));
        }
    };

    apps.acts.record(act(ActKind::LogIn, cx).user(user.0).subject(SubjectKind::Token, token.id()));
    Ok(signed_in(&apps.cookies, &apps.deployments.primary.cookie_names, &token, back))
}

/// Sets the session of a browser, and leads it on
fn signed_in(cookies: &Cookies, names: &CookieNames, token: &SessionToken, back: &str) -> Response {
    let mut response = empty(StatusCode::SEE_OTHER, LOCATION, own_path(back));
    let name = names.new_session();
    if let Some(cookie) = cookies.set(name, token.reveal(), "/", None, Expiry::Session) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

impl AppsConfig {
    /// Answers a browser whose user the host has signed in: sets the session, and leads the browser on
    ///
    /// For a host with a `/login` of its own, where authd sends visitors without a session. `token` is
    /// that of a session which the host has given to
    /// [`Sessions::insert`](app_authz::credential::Sessions::insert). `redirect` is the query
    /// parameter of that name: the browser goes on there if it is a path of this host, and to `/`
    /// otherwise. It forgets the session when it is closed.
    ///
    /// The host refuses forms that pages of other sites have sent. Otherwise they could sign their
    /// visitors in as another user.
    #[must_use]
    pub fn signed_in(&self, token: &SessionToken, redirect: &str) -> http::Response<ResponseBody> {
        let cookies = Cookies::new(self.cookies.clone());
        signed_in(&cookies, &cookies.names(self.app_hosts.as_ref()), token, redirect)
    }
}

/// The answer to a form that was not looked at
///
/// A person who has tried too often gets the form again.
pub(crate) fn answer_to_failure(
    oidc: Option<&dyn AnyOidc>,
    cx: &Context<'_>,
    error: Error,
) -> Response {
    if !matches!(error, Error::TooManyFailures { .. }) {
        return super::refused(cx, error);
    }
    let problem = error.problem();
    let message = format!("{} {}", problem.message, problem.detail);
    let parameters = parameters(cx.query);
    let back = parameter(&parameters, "redirect").unwrap_or_default();
    let form = Form::default();
    let page = SignInPage { error: Some(&message), ..form.page(back, oidc) };
    let page = page.into_response(problem.status);
    problem.with_headers(page)
}

/// What the form says about where its visitor goes on
#[derive(Default)]
pub(super) struct Form {
    /// The app that the visitor wants to open, and its host
    waiting: Option<(String, String)>,
}

impl Form {
    pub(super) fn page<'a>(
        &'a self,
        back: &'a str,
        oidc: Option<&'a dyn AnyOidc>,
    ) -> SignInPage<'a> {
        let waiting = self.waiting.as_ref().map(|(app, host)| (&**app, &**host));
        let provider = oidc.map(|oidc| (&*oidc.config().sign_in_text, super::oidc::begin_at(back)));
        let takes_tokens = oidc.is_none_or(|oidc| oidc.config().session_tokens);
        SignInPage { message: None, error: None, waiting, back, provider, takes_tokens }
    }
}

/// Names the app to which the path `back` leads, if it is one that a visitor is sent on to
///
/// The names are those of the address. Whether there is such an app is not looked up.
async fn form<S: AppPorts>(apps: &AppService<S>, back: &str) -> Form {
    let (path, query) = back.split_once('?').unwrap_or((back, ""));
    if path != AUTH_REDIRECT {
        let primary = &apps.deployments.primary;
        let named = UncheckedRequest::of_path(path);
        let app = named.map(|(request, _)| request.app_slug_or_port).filter(|app| is_slug(app));
        return Form { waiting: app.map(|app| (app, primary.url.authority())) };
    }
    let parameters = parameters(query);
    let Some(uri) = parameter(&parameters, "redirect_uri") else { return Form::default() };
    let Ok(registered) = apps.deployments.registered(&*apps.store).await else {
        return Form::default();
    };
    let Ok(url) = registered.redirect_hosts().check(uri) else { return Form::default() };
    let host = url.authority();
    let waiting = match apps.deployments.find(&*apps.store, &host).await {
        Ok(Some((_, HostMeaning::App(name)))) => Some((name.slug_or_port, host)),
        Ok(Some((_, HostMeaning::Dashboard))) => {
            let named = UncheckedRequest::of_path(url.path());
            named.map(|(request, _)| (request.app_slug_or_port, host))
        }
        _ => None,
    };
    Form { waiting: waiting.filter(|(app, _)| is_slug(app)) }
}

/// Whether the name may be that of an app: others could put words on the page
fn is_slug(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&name.len()) && name.bytes().all(is_part)
}

/// Returns the token and its user if it is a good session token of this site, and otherwise a
/// sentence that says why it is not
///
/// Only the holder of a token learns more about it than that it is not good.
async fn good_token<S: AppPorts>(
    apps: &AppService<S>,
    cx: &Context<'_>,
    text: &str,
) -> Result<Result<(SessionToken, UserId), &'static str>, AccessError> {
    let Ok(token) = text.parse::<SessionToken>() else {
        return Ok(Err(MALFORMED));
    };
    let holders = apps.store.holders(std::slice::from_ref(&token)).await;
    let holders = holders.map_err(AccessError::store)?;
    let holder = holders.first();
    let session = match authenticate(&token, holder, apps.terms(), cx.now) {
        Ok(session) => session,
        Err(denial) => return Ok(Err(sentence(denial))),
    };
    let Some(holder) = holder else { return Ok(Err(MALFORMED)) };
    let user = Object::user(holder.key.user);
    if !holder.subject(apps.roles()).is_allowed(&Action::Read, &user) {
        return Ok(Err(FOR_APPS_ALONE));
    }
    let (status, user, key) = (303, holder.key.user, token.id());
    log_request!(info, &cx.facts, status, %user, key, "logged in");
    apps.write_back(holder, session, cx.client);
    Ok(Ok((token, user)))
}

/// Why a token is not good, for its holder
const fn sentence(denial: SessionDenial) -> &'static str {
    match denial {
        SessionDenial::Expired => "This token has expired. Ask for a new one.",
        SessionDenial::WrongAudience => "This token is for another site.",
        SessionDenial::NoLink | SessionDenial::LinkExpired => {
            "This token came with a sign-in at an identity provider that is no longer good. Sign in \
             there again."
        }
        SessionDenial::Inactive(UserStatus::Dormant) => {
            "Your account has not been used for a long time and is dormant. Ask an administrator \
             to activate it."
        }
        SessionDenial::Inactive(_) => {
            "Your account is suspended. Ask an administrator to activate it again."
        }
        _ => {
            "This token is not valid, or no longer. Check that it is complete, or ask for a new one."
        }
    }
}

/// The link that signs a visitor in and then leads to `back`, a path of the dashboard's host
pub(crate) fn link(text: &'static str, back: &str) -> PageLink {
    PageLink { text: text.into(), url: format!("/login?redirect={}", encode_query_value(back)) }
}

/// The link that signs a visitor in and then repeats the request
pub(crate) fn link_back(cx: &Context<'_>) -> PageLink {
    link("Sign in", &with_query(cx.path, cx.query))
}

/// The path to return to, which is on this host: never `//host` or an absolute URL
pub(super) fn own_path(back: &str) -> HeaderValue {
    let rest = back.strip_prefix('/').filter(|rest| !rest.starts_with(['/', '\\']));
    let path = rest.filter(|rest| rest.bytes().all(|byte| byte.is_ascii_graphic()));
    path.and_then(|_| HeaderValue::from_str(back).ok()).unwrap_or(HeaderValue::from_static("/"))
}

/// Redirects to the sign-in page, which then leads to `/`
pub(crate) fn redirect() -> Response {
    empty(StatusCode::SEE_OTHER, LOCATION, HeaderValue::from_static("/login"))
}

/// Redirects to the sign-in page, which then repeats the request
pub(crate) fn redirect_back(cx: &Context<'_>) -> Response {
    let location = HeaderValue::from_str(&link_back(cx).url);
    location.map_or_else(|_| redirect(), |to| empty(StatusCode::SEE_OTHER, LOCATION, to))
}

/// The page that sends a visitor on to an app
const AUTH_REDIRECT: &str = "/api/v2/applications/auth-redirect";

const MALFORMED: &str = "This is not a session token. It has 33 characters, of which the eleventh is \
     a hyphen. Check that it is complete.";

const FOR_APPS_ALONE: &str = "This token opens apps alone: its scope is application_connect, or does \
     not include your account. To sign in here, use a token without a scope.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_to_return_to_is_on_this_host() {
        for own in
            ["/", "/a?b=c", "/api/v2/applications/auth-redirect?redirect_uri=https%3A%2F%2Fa"]
        {
            assert_eq!(own_path(own), own);
        }
        for other in ["", "a", "//evil", "/\\evil", "https://evil", "/a\r\nb", "/a b", "/é"] {
            assert_eq!(own_path(other), "/", "{other}");
        }
    }
}
