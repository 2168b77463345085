use app_audit::{ActKind, SubjectKind};
use app_authz::UserId;
use app_authz::credential::{SessionToken, Source, authenticate};
use http::StatusCode;
use http::header::{HeaderValue, LOCATION, SET_COOKIE};
use store::Store;

use crate::acts::act;
use crate::apps::{AppService, Expiry, parameter, parameters, presented_sessions, same_origin};
use crate::body;
use crate::context::{Body, Context};
use crate::error::{AccessError, Error, SIGNED_OUT};
use crate::reply::{Response, SignInPage, empty};

/// `GET /login`
///
/// Visitors without a session are sent here, in a deployment without a dashboard. In other
/// deployments the dashboard answers this path.
pub(crate) fn page<S>(apps: &AppService<S>, cx: &Context<'_>) -> Response {
    let parameters = parameters(cx.query);
    let back = parameter(&parameters, "redirect").unwrap_or_default();
    // A fixed sentence: a text from the address would let anyone put words on this page. A browser
    // without a session was perhaps never signed in.
    let message = parameter(&parameters, "message").map(|_| SIGNED_OUT);
    let message = message.filter(|_| presented_sessions(apps, cx).is_ok());
    SignInPage { message, back }.into_response(StatusCode::OK)
}

/// `POST /login`
///
/// Takes a session token from the form, and sets it as the browser's session cookie.
pub(crate) async fn log_in<S: Store>(
    apps: &AppService<S>,
    cx: &Context<'_>,
    body: Body,
) -> Result<Response, Error> {
    // A page of another site must not sign its visitor in as another user.
    if !same_origin(cx.headers(), Source::SessionCookie, &apps.config.access_url) {
        return Err(AccessError::ForeignOrigin.into());
    }
    let body = body::read(body, apps.bounds).await?;
    let fields = parameters(std::str::from_utf8(&body).unwrap_or_default());
    let back = parameter(&fields, "redirect").unwrap_or_default();
    let token = parameter(&fields, "token").unwrap_or_default().trim();
    let Some((token, user)) = good_token(apps, cx, token).await? else {
        apps.acts.record(act(ActKind::LogIn, cx).refused("invalid_token"));
        let message = Some("The token is not valid, or no longer.");
        return Ok(SignInPage { message, back }.into_response(StatusCode::UNAUTHORIZED));
    };

    apps.acts.record(act(ActKind::LogIn, cx).user(user.0).subject(SubjectKind::Token, token.id()));
    let mut response = empty(StatusCode::SEE_OTHER, LOCATION, own_path(back));
    let name = apps.deployments.primary.cookie_names.new_session();
    if let Some(cookie) = apps.cookies.set(name, token.reveal(), "/", None, Expiry::Session) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// The answer to a form that was not looked at
///
/// A person who has tried too often gets the form again.
pub(crate) fn answer_to_failure(cx: &Context<'_>, error: Error) -> Response {
    if !matches!(error, Error::TooManyFailures { .. }) {
        return error.into_response();
    }
    let problem = error.problem();
    let message = format!("{} {}", problem.message, problem.detail);
    let parameters = parameters(cx.query);
    let back = parameter(&parameters, "redirect").unwrap_or_default();
    let page = SignInPage { message: Some(&message), back }.into_response(problem.status);
    problem.with_headers(page)
}

/// The token and its user, if it is a good session token
async fn good_token<S: Store>(
    apps: &AppService<S>,
    cx: &Context<'_>,
    text: &str,
) -> Result<Option<(SessionToken, UserId)>, AccessError> {
    let Ok(token) = text.parse::<SessionToken>() else { return Ok(None) };
    let holders = apps.store.holders(std::slice::from_ref(&token)).await;
    let holders = holders.map_err(AccessError::Store)?;
    let holder = holders.first();
    let Ok(session) = authenticate(&token, holder, apps.terms(), cx.now) else { return Ok(None) };
    let Some(holder) = holder else { return Ok(None) };
    apps.write_back(holder, session, cx.client);
    Ok(Some((token, holder.key.user)))
}

/// The path to return to, which is on this host: never `//host` or an absolute URL
fn own_path(back: &str) -> HeaderValue {
    let rest = back.strip_prefix('/').filter(|rest| !rest.starts_with(['/', '\\']));
    let path = rest.filter(|rest| rest.bytes().all(|byte| byte.is_ascii_graphic()));
    path.and_then(|_| HeaderValue::from_str(back).ok()).unwrap_or(HeaderValue::from_static("/"))
}

/// Redirects to the sign-in page, which then leads to `/`
pub(crate) fn redirect() -> Response {
    empty(StatusCode::SEE_OTHER, LOCATION, HeaderValue::from_static("/login"))
}

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
