use std::str::FromStr;
use std::time::SystemTime;

use app_audit::{
    App, AppId, Cursor, Decision, Filter, OrganizationId, Page, Row, UserId, WorkspaceId,
};
use app_authz::rbac::{Action, Object, ResourceType};
use chrono::{DateTime, Utc};
use http::StatusCode;
use serde::Serialize;

use crate::apps::{AppService, Require, parameters};
use crate::context::Context;
use crate::error::{AccessError, Error, quote};
use crate::ports::{AnyLog, AppPorts};
use crate::reply::{Response, json};

#[derive(Serialize)]
struct Log {
    audit_logs: Vec<Row>,
    /// The value of `after` for the next page; `None` on the last page
    next: Option<String>,
}

/// `GET /api/v2/audit`
///
/// For users who may read the audit log: all of it, or that of the one organization that the
/// filter names.
pub(crate) async fn list<S: AppPorts>(
    apps: &AppService<S>,
    log: &dyn AnyLog,
    cx: &Context<'_>,
) -> Result<Response, Error> {
    let caller = Require::session().check(apps, cx).await?;
    let (filter, page) = filter(cx.query)?;
    caller.demand(&Action::Read, &object(&filter))?;
    let audit_logs = log.list(&filter, page).await.map_err(AccessError::Store)?;
    let next = next_page(&audit_logs, page, Row::cursor);
    Ok(json(StatusCode::OK, &Log { audit_logs, next }))
}

/// The part of the audit log that the filter selects from, as an object of permissions
fn object(filter: &Filter) -> Object<'static> {
    let log = Object::new(ResourceType::AuditLog);
    match filter.organization {
        Some(organization) => log.organization(app_authz::id::OrganizationId(organization.0)),
        None => log,
    }
}

fn filter(query: &str) -> Result<(Filter, Page), AccessError> {
    let mut filter = Filter::default();
    let page = read(query, |name, value| {
        match name {
            "from" => filter.from = Some(time(name, &value)?),
            "to" => filter.to = Some(time(name, &value)?),
            "user" => filter.user = Some(UserId(parse(name, &value)?)),
            "organization" => filter.organization = Some(OrganizationId(parse(name, &value)?)),
            "workspace" => filter.workspace = Some(WorkspaceId(parse(name, &value)?)),
            "app_id" if filter.app.is_none() => {
                filter.app = Some(App::Id(AppId(parse(name, &value)?)));
            }
            "app" if filter.app.is_none() => filter.app = Some(App::Slug(text(name, value)?)),
            "app" | "app_id" => {
                return Err(invalid(name, "`app` and `app_id` exclude each other"));
            }
            "decision" => filter.decision = Some(decision(name, &value)?),
            "reason" => filter.reason = Some(text(name, value)?),
            "address" => filter.ip = Some(parse(name, &value)?),
            "request" => filter.request = Some(parse(name, &value)?),
            "session" => filter.session = Some(parse(name, &value)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok((filter, page))
}

/// Reads the parameters of a list: each once, and only those of the page and of the filter, since a
/// misread filter shows too much
///
/// `field` puts a parameter into the filter, and returns whether the filter has such a parameter.
pub(super) fn read(
    query: &str,
    mut field: impl FnMut(&str, String) -> Result<bool, AccessError>,
) -> Result<Page, AccessError> {
    let (mut limit, mut after) = (DEFAULT_LIMIT, None);
    let mut seen = Vec::new();
    for (name, value) in parameters(query) {
        if seen.contains(&name) {
            return Err(invalid(&name, "it is given twice"));
        }
        match &*name {
            "limit" => limit = parse(&name, &value)?,
            "after" => after = Some(parse(&name, &value)?),
            // The caller's session.
            "coder_session_token" | "access_token" => {}
            _ => {
                if !field(&name, value)? {
                    return Err(invalid(&name, "this parameter does not exist"));
                }
            }
        }
        seen.push(name);
    }
    let page = Page::first(limit);
    Ok(after.map_or(page, |after| page.after(after)))
}

/// The value of `after` for the page that follows `rows`; `None` if these are fewer than a page
pub(super) fn next_page<T>(
    rows: &[T],
    page: Page,
    cursor: impl Fn(&T) -> Cursor,
) -> Option<String> {
    let is_full = u32::try_from(rows.len()).is_ok_and(|rows| rows == page.limit());
    rows.last().filter(|_| is_full).map(|row| cursor(row).to_string())
}

pub(super) fn decision(name: &str, value: &str) -> Result<Decision, AccessError> {
    Decision::from_label(value).ok_or_else(|| invalid(name, "it is `allow` or `deny`"))
}

/// No text in a database holds a NUL, and a query for it would be an error
pub(super) fn text(name: &str, value: String) -> Result<String, AccessError> {
    if value.contains('\0') { Err(invalid(name, "it holds a NUL")) } else { Ok(value) }
}

pub(super) fn parse<T: FromStr>(name: &str, value: &str) -> Result<T, AccessError> {
    value.parse().map_err(|_| invalid(name, "its value is not of the form expected"))
}

pub(super) fn time(name: &str, value: &str) -> Result<SystemTime, AccessError> {
    let time = DateTime::parse_from_rfc3339(value);
    let time = time.map_err(|_| invalid(name, "it is a time such as `2026-11-21T00:00:00Z`"))?;
    Ok(time.with_timezone(&Utc).into())
}

pub(super) fn invalid(name: &str, problem: &str) -> AccessError {
    AccessError::invalid("Invalid query parameter.", format!("{}: {problem}.", quote(name)))
}

const DEFAULT_LIMIT: u32 = 100;
