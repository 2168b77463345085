use std::net::IpAddr;
use std::str::FromStr;
use std::time::SystemTime;

use app_audit::{App, AppId, Decision, Filter, OrganizationId, Page, Row, UserId, WorkspaceId};
use app_authz::rbac::{Action, Object, ResourceType, Subject};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::HeaderMap;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use store::Store;

use super::json;
use crate::apps::{Apps, parameters, signed_in};
use crate::error::{AccessFailure, Failure};

#[derive(Serialize)]
struct Log {
    audit_logs: Vec<Row>,
    /// What to send as `after` for the next page; nothing where this is the last
    next: Option<String>,
}

/// `GET /api/v2/audit`
///
/// For whoever may read the audit log: all of it, or that of the one organization the
/// filter names.
pub(crate) async fn list<S: Store>(
    apps: &Apps<S>,
    headers: &HeaderMap,
    query: &str,
    client: Option<IpAddr>,
    now: SystemTime,
) -> Result<Response<Full<Bytes>>, Failure> {
    let visitor = signed_in(apps, headers, query, client, now).await?;
    let (filter, page) = filter(query)?;
    if !may_read(&visitor.subject, &filter) {
        return Err(AccessFailure::Forbidden.into());
    }
    let audit_logs = apps.store.list(&filter, page).await.map_err(AccessFailure::Store)?;
    let is_full = u32::try_from(audit_logs.len()).is_ok_and(|rows| rows == page.limit());
    let next = audit_logs.last().filter(|_| is_full).map(|row| row.cursor().to_string());
    Ok(json(StatusCode::OK, &Log { audit_logs, next }))
}

fn may_read(subject: &Subject, filter: &Filter) -> bool {
    let log = Object::new(ResourceType::AuditLog);
    let log = match filter.organization {
        Some(organization) => log.organization(app_authz::id::OrganizationId(organization.0)),
        None => log,
    };
    subject.is_allowed(&Action::Read, &log)
}

/// Each parameter once, and no other than these: a filter that is misread shows too much
fn filter(query: &str) -> Result<(Filter, Page), AccessFailure> {
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
            "app" if filter.app.is_none() => filter.app = Some(App::Slug(value)),
            "app" | "app_id" => {
                return Err(invalid(&name, "`app` and `app_id` exclude each other"));
            }
            "decision" => {
                let both = [Decision::Allow, Decision::Deny];
                let known = both.into_iter().find(|decision| decision.as_str() == value);
                let unknown = || invalid(&name, "it is `allow` or `deny`");
                filter.decision = Some(known.ok_or_else(unknown)?);
            }
            "request" => filter.request = Some(parse(&name, &value)?),
            "session" => filter.session = Some(parse(&name, &value)?),
            "limit" => limit = parse(&name, &value)?,
            "after" => after = Some(parse(&name, &value)?),
            // The session of whoever asks.
            "coder_session_token" | "access_token" => {}
            _ => return Err(invalid(&name, "there is no such parameter")),
        }
        seen.push(name);
    }
    let page = Page::first(limit);
    Ok((filter, after.map_or(page, |after| page.after(after))))
}

fn parse<T: FromStr>(name: &str, value: &str) -> Result<T, AccessFailure> {
    value.parse().map_err(|_| invalid(name, "its value is not of the form expected"))
}

fn time(name: &str, value: &str) -> Result<SystemTime, AccessFailure> {
    let time = DateTime::parse_from_rfc3339(value);
    let time = time.map_err(|_| invalid(name, "it is a time such as `2026-11-21T00:00:00Z`"))?;
    Ok(time.with_timezone(&Utc).into())
}

fn invalid(name: &str, problem: &str) -> AccessFailure {
    AccessFailure::Invalid {
        message: "Invalid query parameter.",
        detail: format!("{}: {problem}.", crate::quote::quote(name)),
    }
}

const DEFAULT_LIMIT: u32 = 100;
