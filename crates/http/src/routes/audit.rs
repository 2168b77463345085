use std::str::FromStr;
use std::time::SystemTime;

use app_audit::{App, AppId, Decision, Filter, OrganizationId, Page, Row, UserId, WorkspaceId};
use app_authz::rbac::{Action, Object, ResourceType};
use chrono::{DateTime, Utc};
use http::StatusCode;
use serde::Serialize;
use store::Store;

use crate::apps::{AppService, Require, parameters};
use crate::context::Context;
use crate::error::{AccessError, Error, quote};
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
pub(crate) async fn list<S: Store>(
    apps: &AppService<S>,
    cx: &Context<'_>,
) -> Result<Response, Error> {
    let caller = Require::session().check(apps, cx).await?;
    let (filter, page) = filter(cx.query)?;
    caller.demand(&Action::Read, &log(&filter))?;
    let audit_logs = apps.store.list(&filter, page).await.map_err(AccessError::Store)?;
    let is_full = u32::try_from(audit_logs.len()).is_ok_and(|rows| rows == page.limit());
    let next = audit_logs.last().filter(|_| is_full).map(|row| row.cursor().to_string());
    Ok(json(StatusCode::OK, &Log { audit_logs, next }))
}

/// The part of the audit log that the filter selects from, as an object of permissions
fn log(filter: &Filter) -> Object<'static> {
    let log = Object::new(ResourceType::AuditLog);
    match filter.organization {
        Some(organization) => log.organization(app_authz::id::OrganizationId(organization.0)),
        None => log,
    }
}

/// Parses the filter: each parameter once, and only these, since a misread filter shows too much
fn filter(query: &str) -> Result<(Filter, Page), AccessError> {
    let mut filter = Filter::default();
    let (mut limit, mut after) = (DEFAULT_LIMIT, None);
    let mut seen = Vec::new();
    for (name, value) in parameters(query) {
        if seen.contains(&name) {
            return Err(invalid(&name, "it is given twice"));
        }
        match &*name {
            "from" => filter.from = Some(time(&name, &value)?),
            "to" => filter.to = Some(time(&name, &value)?),
            "user" => filter.user = Some(UserId(parse(&name, &value)?)),
            "organization" => filter.organization = Some(OrganizationId(parse(&name, &value)?)),
            "workspace" => filter.workspace = Some(WorkspaceId(parse(&name, &value)?)),
            "app_id" if filter.app.is_none() => {
                filter.app = Some(App::Id(AppId(parse(&name, &value)?)));
            }
            "app" if filter.app.is_none() => filter.app = Some(App::Slug(text(&name, value)?)),
            "app" | "app_id" => {
                return Err(invalid(&name, "`app` and `app_id` exclude each other"));
            }
            "decision" => filter.decision = Some(decision(&name, &value)?),
            "reason" if value.contains('\0') => return Err(invalid(&name, "it holds a NUL")),
            "reason" => filter.reason = Some(value),
            "address" => filter.ip = Some(parse(&name, &value)?),
            "request" => filter.request = Some(parse(&name, &value)?),
            "session" => filter.session = Some(parse(&name, &value)?),
            "limit" => limit = parse(&name, &value)?,
            "after" => after = Some(parse(&name, &value)?),
            // The caller's session.
            "coder_session_token" | "access_token" => {}
            _ => return Err(invalid(&name, "this parameter does not exist")),
        }
        seen.push(name);
    }
    let page = Page::first(limit);
    Ok((filter, after.map_or(page, |after| page.after(after))))
}

pub(super) fn decision(name: &str, value: &str) -> Result<Decision, AccessError> {
    let both = [Decision::Allow, Decision::Deny];
    let known = both.into_iter().find(|decision| decision.as_str() == value);
    known.ok_or_else(|| invalid(name, "it is `allow` or `deny`"))
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

pub(super) const DEFAULT_LIMIT: u32 = 100;
