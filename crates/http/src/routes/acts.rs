use app_audit::{ActFilter, ActKind, ActRow, AgentId, Page, UserId, WorkspaceId};
use app_authz::rbac::{Action, Object, ResourceType};
use http::StatusCode;
use serde::Serialize;

use super::audit::{decision, invalid, next_page, parse, read, text, time};
use crate::apps::{AppService, Require};
use crate::context::Context;
use crate::error::{AccessError, Error};
use crate::ports::{AnyLog, AppPorts};
use crate::reply::{Response, json};

#[derive(Serialize)]
struct Acts {
    acts: Vec<ActRow>,
    /// The value of `after` for the next page; `None` on the last page
    next: Option<String>,
}

/// `GET /api/v2/authd/audit/acts`
///
/// Sign-ins, and what operators did. For users who may read the audit log of the deployment: an
/// act belongs to no organization.
pub(crate) async fn list<S: AppPorts>(
    apps: &AppService<S>,
    log: &dyn AnyLog,
    cx: &Context<'_>,
) -> Result<Response, Error> {
    let caller = Require::session().check(apps, cx).await?;
    let (filter, page) = filter(cx.query)?;
    caller.demand(&Action::Read, &Object::new(ResourceType::AuditLog))?;
    let acts = log.list_acts(&filter, page).await.map_err(AccessError::Store)?;
    let next = next_page(&acts, page, ActRow::cursor);
    Ok(json(StatusCode::OK, &Acts { acts, next }))
}

fn filter(query: &str) -> Result<(ActFilter, Page), AccessError> {
    let mut filter = ActFilter::default();
    let page = read(query, |name, value| {
        match name {
            "from" => filter.from = Some(time(name, &value)?),
            "to" => filter.to = Some(time(name, &value)?),
            "kind" => {
                let kind: Result<ActKind, _> = value.parse();
                filter.kind = Some(kind.map_err(|error| invalid(name, &error.to_string()))?);
            }
            "decision" => filter.decision = Some(decision(name, &value)?),
            "reason" => filter.reason = Some(text(name, value)?),
            "user" => filter.user = Some(UserId(parse(name, &value)?)),
            "agent" => filter.agent = Some(AgentId(parse(name, &value)?)),
            "workspace" => filter.workspace = Some(WorkspaceId(parse(name, &value)?)),
            "subject" => filter.subject = Some(text(name, value)?),
            "address" => filter.ip = Some(parse(name, &value)?),
            "request" => filter.request = Some(parse(name, &value)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok((filter, page))
}
