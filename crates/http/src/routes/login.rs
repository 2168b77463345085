use std::net::IpAddr;
use std::time::SystemTime;

use app_authz::credential::{SessionToken, Source, authenticate};
use bytes::Bytes;
use http::HeaderValue;
use http::header::{HeaderMap, LOCATION, SET_COOKIE};
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use store::Store;

use super::body::{self, Bounds};
use crate::apps::{Apps, Lasting, parameter, parameters, same_origin};
use crate::error::{AccessFailure, Failure, SIGNED_OUT};
use crate::pages::SignInPage;

/// `GET /login`
///
/// Where visitors are sent who have no session, for a deployment whose dashboard is
/// authd alone. Elsewhere the dashboard's own page answers here.
pub(crate) fn page(query: &str) -> Response<Full<Bytes>> {
    let parameters = parameters(query);
    let back = parameter(&parameters, "redirect").unwrap_or_default();
    // Not what the address says, which anybody can write: it would be said in our name.
    let message = parameter(&parameters, "message").map(|_| SIGNED_OUT);
    SignInPage { message, back }.into_response(StatusCode::OK)
}

/// `POST /login`
///
/// Takes a session token from the form, and leaves it with the browser as its session.
pub(crate) async fn sign_in<S: Store, B>(
    apps: &Apps<S>,
    request: Request<B>,
    bounds: Bounds,
    client: Option<IpAddr>,
    now: SystemTime,
) -> Result<Response<Full<Bytes>>, Failure>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Another site's page must not sign its visitor in as somebody else.
    if !is_own_form(apps, request.headers()) {
        return Err(AccessFailure::ForeignOrigin.into());
    }
    let body = body::read(request, bounds).await?;
    let fields = parameters(std::str::from_utf8(&body).unwrap_or_default());
    let back = parameter(&fields, "redirect").unwrap_or_default();
    let token = parameter(&fields, "token").unwrap_or_default().trim();
    let Some(token) = good(apps, token, client, now).await? else {
        let message = Some("The token is not valid, or no longer.");
        return Ok(SignInPage { message, back }.into_response(StatusCode::UNAUTHORIZED));
    };

    let mut response = Response::default();
    *response.status_mut() = StatusCode::SEE_OTHER;
    let names = &apps.deployments.primary.cookie_names;
    let cookie = apps.cookies.bake(names.session(), token.reveal(), "/", None, Lasting::Session);
    let headers = response.headers_mut();
    headers.insert(LOCATION, own_path(back));
    if let Some(cookie) = cookie {
        headers.insert(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// The token, if somebody may sign in with it
async fn good<S: Store>(
    apps: &Apps<S>,
    text: &str,
    client: Option<IpAddr>,
    now: SystemTime,
) -> Result<Option<SessionToken>, AccessFailure> {
    let Ok(token) = text.parse::<SessionToken>() else { return Ok(None) };
    let holders = apps.store.holders(std::slice::from_ref(&token)).await;
    let holders = holders.map_err(AccessFailure::Store)?;
    let holder = holders.first();
    let Ok(session) = authenticate(&token, holder, apps.terms(), now) else { return Ok(None) };
    if let Some(holder) = holder {
        apps.write_back(holder, session, client);
    }
    Ok(Some(token))
}

fn is_own_form<S: Store>(apps: &Apps<S>, headers: &HeaderMap) -> bool {
    same_origin(headers, Source::SessionCookie, &apps.config.access_url)
}

/// The path to go back to: one of this host, and never the name of another
fn own_path(back: &str) -> HeaderValue {
    let rest = back.strip_prefix('/').filter(|rest| !rest.starts_with(['/', '\\']));
    let path = rest.filter(|rest| rest.bytes().all(|byte| byte.is_ascii_graphic()));
    path.and_then(|_| HeaderValue::from_str(back).ok()).unwrap_or(HeaderValue::from_static("/"))
}

/// Sends a browser to sign in that is wanted nowhere else afterwards
pub(crate) fn redirect() -> Response<Full<Bytes>> {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(LOCATION, HeaderValue::from_static("/login"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_host() {
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
