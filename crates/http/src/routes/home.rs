use app_authz::credential::SessionDenial;
use app_authz::rbac::{Action, Object};
use http::StatusCode;
use serde::Serialize;
use uuid::Uuid;

use super::{audit_page, login};
use crate::apps::{AppService, Require, app_list, parameter, parameters};
use crate::context::Context;
use crate::error::{AccessError, Error, Rejection};
use crate::ports::{AppPorts, Parts};
use crate::reply::{HomePage, Response, ShownList, json};
use crate::request_facts::log_request;

#[derive(Serialize)]
struct Visitor<'a> {
    id: Uuid,
    username: &'a str,
}

/// `GET /`
///
/// Lists the apps that the visitor may open, for a deployment without a dashboard, whose pages lead
/// here. A program gets the user who is signed in. A visitor who is not signed in is redirected to
/// sign in. In other deployments the dashboard answers this path.
pub(crate) async fn page<S: AppPorts>(
    apps: &AppService<S>,
    parts: &Parts,
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
        let error = Error::from(AccessError::NotFound);
        if !html {
            return Err(error);
        }
        let link = login::link("Sign in", "/");
        return Ok(error.problem().words(FOR_APPS_ALONE).into_page(vec![link]));
    }
    let username = &caller.holder.username;
    if !html {
        return Ok(json(StatusCode::OK, &Visitor { id: id.0, username }));
    }
    let parameters = parameters(cx.query);
    let search = parameter(&parameters, "q").unwrap_or_default().trim();
    let search: String = search.chars().take(MAX_SEARCH).collect();
    let after = parameter(&parameters, "after").filter(|after| !after.is_empty());
    let list = match &parts.listing {
        Some(listing) => app_list((apps, &**listing), cx, &caller, (&search, after))
            .await
            .inspect_err(|error| {
                let error = error.problem();
                let (class, detail) = (error.class, error.log_detail());
                log_request!(warn, &cx.facts, class, detail, "the list of apps is left out");
            })
            .map_or(ShownList::Unreadable, ShownList::Apps),
        None => ShownList::Off,
    };
    let is_first = after.is_none();
    let reads_audit = parts.has_audit_page() && audit_page::is_open_to(&caller);
    Ok(HomePage { username, reads_audit, search: &search, is_first, list: &list }.into_response())
}

/// Title and text of the page for a session of scope `application_connect`
const FOR_APPS_ALONE: (&str, &str) = (
    "You are signed in to apps alone",
    "Your session opens apps at their own addresses, and not this page.",
);

/// The longest text to search for, in characters
const MAX_SEARCH: usize = 100;
