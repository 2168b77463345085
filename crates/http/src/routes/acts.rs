use app_audit::{ActFilter, ActKind, ActRow, AgentId, Page, UserId, WorkspaceId};
use app_authz::rbac::{Action, Object, ResourceType};
use http::StatusCode;
use serde::Serialize;
use store::Store;

use super::audit::{DEFAULT_LIMIT, decision, invalid, parse, text, time};
use crate::apps::{AppService, Require, parameters};
use crate::context::Context;
use crate::error::{AccessError, Error};
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
pub(crate) async fn list<S: Store>(
    apps: &AppService<S>,
    cx: &Context<'_>,
) -> Result<Response, Error> {
    let caller = Require::session().check(apps, cx).await?;
    let (filter, page) = filter(cx.query)?;
    caller.demand(&Action::Read, &Object::new(ResourceType::AuditLog))?;
    let acts = apps.store.list_acts(&filter, page).await.map_err(AccessError::Store)?;
    let is_full = u32::try_from(acts.len()).is_ok_and(|rows| rows == page.limit());
    let next = acts.last().filter(|_| is_full).map(|row| row.cursor().to_string());
    Ok(json(StatusCode::OK, &Acts { acts, next }))
}

/// Parses the filter as that of visits is parsed: each parameter once, and only these
fn filter(query: &str) -> Result<(ActFilter, Page), AccessError> {
    let mut filter = ActFilter::default();
    let (mut limit, mut after) = (DEFAULT_LIMIT, None);
    let mut seen = Vec::new();
    for (name, value) in parameters(query) {
        if seen.contains(&name) {
            return Err(invalid(&name, "it is given twice"));
        }
        match &*name {
            "from" => filter.from = Some(time(&name, &value)?),
            "to" => filter.to = Some(time(&name, &value)?),
            "kind" => {
                let kind: Result<ActKind, _> = value.parse();
                filter.kind = Some(kind.map_err(|error| invalid(&name, &error.to_string()))?);
            }
            "decision" => filter.decision = Some(decision(&name, &value)?),
            "reason" => filter.reason = Some(text(&name, value)?),
            "user" => filter.user = Some(UserId(parse(&name, &value)?)),
            "agent" => filter.agent = Some(AgentId(parse(&name, &value)?)),
            "workspace" => filter.workspace = Some(WorkspaceId(parse(&name, &value)?)),
            "subject" => filter.subject = Some(text(&name, value)?),
            "address" => filter.ip = Some(parse(&name, &value)?),
            "request" => filter.request = Some(parse(&name, &value)?),
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
