use std::net::IpAddr;
use std::time::SystemTime;

use app_authz::rbac::{Action, Object};
use bytes::Bytes;
use http::header::HeaderMap;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use store::Store;
use uuid::Uuid;

use super::json;
use crate::apps::{Apps, accepts_html, signed_in};
use crate::error::{AccessFailure, Failure};
use crate::pages::SignedInPage;

#[derive(Serialize)]
struct Visitor<'a> {
    id: Uuid,
    username: &'a str,
}

/// `GET /`
///
/// Who is signed in, for a deployment whose dashboard is authd alone: its pages lead
/// here. Elsewhere the dashboard itself answers. Whoever is not signed in is sent to
/// sign in.
pub(crate) async fn page<S: Store>(
    apps: &Apps<S>,
    headers: &HeaderMap,
    query: &str,
    client: Option<IpAddr>,
    now: SystemTime,
) -> Result<Response<Full<Bytes>>, Failure> {
    let html = accepts_html(headers);
    let visitor = match signed_in(apps, headers, query, client, now).await {
        Err(AccessFailure::SignedOut(why)) if html && why.is_none_or(|why| !why.is_final()) => {
            return Ok(super::login::redirect());
        }
        signed_in => signed_in?,
    };
    let id = visitor.holder.key.user;
    // A session for apps alone does not say whose it is.
    if !visitor.subject.is_allowed(&Action::Read, &Object::user(id)) {
        return Err(AccessFailure::NotFound.into());
    }
    let username = apps.store.username(id).await.map_err(AccessFailure::Store)?;
    let username = username.ok_or(AccessFailure::NotFound)?;
    Ok(if html {
        SignedInPage { username: &username }.into_response()
    } else {
        json(StatusCode::OK, &Visitor { id: id.0, username: &username })
    })
}
