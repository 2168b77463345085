use app_authz::credential::SessionDenial;
use app_authz::rbac::{Action, Object};
use http::StatusCode;
use serde::Serialize;
use store::Store;
use uuid::Uuid;

use super::login;
use crate::apps::{AppService, Require};
use crate::context::Context;
use crate::error::{AccessError, Error, Rejection};
use crate::reply::{Response, SignedInPage, json};

#[derive(Serialize)]
struct Visitor<'a> {
    id: Uuid,
    username: &'a str,
}

/// `GET /`
///
/// Shows who is signed in, for a deployment without a dashboard, whose pages lead here. A visitor
/// who is not signed in is redirected to sign in. In other deployments the dashboard answers this
/// path.
pub(crate) async fn page<S: Store>(
    apps: &AppService<S>,
    cx: &Context<'_>,
) -> Result<Response, Error> {
    let html = cx.purpose().is_shown_pages();
    let caller = match Require::session().check(apps, cx).await {
        Err(AccessError::SignedOut(denial))
            if html && denial.is_none_or(|denial| !denial.is_final()) =>
        {
            return Ok(login::redirect());
        }
        Err(AccessError::SignedOut(Some(SessionDenial::SeveralUsers))) if html => {
            let reply = Rejection::SeveralUsers.into_reply(cx.purpose());
            return Ok(reply.into_response());
        }
        checked => checked?,
    };
    let id = caller.holder.key.user;
    // A session for apps alone does not reveal its user.
    if !caller.subject.is_allowed(&Action::Read, &Object::user(id)) {
        return Err(AccessError::NotFound.into());
    }
    let username = apps.store.username(id).await.map_err(AccessError::Store)?;
    let username = username.ok_or(AccessError::NotFound)?;
    Ok(if html {
        SignedInPage { username: &username }.into_response()
    } else {
        json(StatusCode::OK, &Visitor { id: id.0, username: &username })
    })
}
