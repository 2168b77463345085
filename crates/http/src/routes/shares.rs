//! With whom apps and ports are shared by name

use app_audit::ActKind;
use app_authz::app::WorkspaceFacts;
use app_authz::rbac::Action;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use store::sharing::{ShareError, ShareRequest, ShareRow};

use crate::acts::act;
use crate::apps::{AppService, Require, SignedIn, parameter, parameters};
use crate::body::read_json;
use crate::context::{Body, Context};
use crate::error::{AccessError, Error};
use crate::ports::{AnySharing, AppPorts};
use crate::reply::{Response, json};

/// The complete list of those with whom an app or a port is shared
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Owner and name
    workspace: String,
    #[serde(default)]
    agent: Option<String>,
    /// The slug of an app, or a port such as `8080`
    app: String,
    users: Vec<String>,
    groups: Vec<String>,
}

#[derive(Serialize)]
struct Shares {
    shares: Vec<ShareRow>,
}

#[derive(Serialize)]
struct Written {
    added: usize,
    removed: usize,
    /// All of the app or the port
    shares: Vec<ShareRow>,
}

/// `GET /api/v2/authd/shares`
///
/// The shares of all apps and ports of a workspace. For users who may read the workspace.
pub(crate) async fn list<S: AppPorts>(
    apps: &AppService<S>,
    sharing: &dyn AnySharing,
    cx: &Context<'_>,
) -> Result<Response, Error> {
    let caller = Require::session().check(apps, cx).await?;
    let parameters = parameters(cx.query);
    let workspace = parameter(&parameters, "workspace").unwrap_or_default();
    // An app of any name leads to the workspace.
    let asked = ShareRequest::of(workspace, "app").map_err(refused)?;
    let facts = find_workspace(apps, &caller, &asked).await?;
    let shares = sharing.shares(facts.workspace.id).await.map_err(AccessError::Store)?;
    Ok(json(StatusCode::OK, &Shares { shares }))
}

/// `PUT /api/v2/authd/shares`
///
/// Replaces the list of one app or port. For users who may share the workspace.
pub(crate) async fn replace<S: AppPorts>(
    apps: &AppService<S>,
    sharing: &dyn AnySharing,
    cx: &Context<'_>,
    body: Body,
) -> Result<Response, Error> {
    let caller = Require::session().same_origin().check(apps, cx).await?;
    let wanted: Wanted = read_json(cx, body, apps.bounds).await?;
    let mut asked = ShareRequest::of(&wanted.workspace, &wanted.app).map_err(refused)?;
    asked.agent = wanted.agent.filter(|agent| !agent.is_empty());
    (asked.users, asked.groups) = (wanted.users, wanted.groups);
    let facts = find_workspace(apps, &caller, &asked).await?;
    caller.demand(&Action::Share, &facts.workspace.object())?;

    let key = &caller.holder.key;
    let act = act(ActKind::ShareChange, cx).user(key.user.0).detail("token", &key.id);
    let by = (Some(key.user), cx.now);
    let changed = sharing.change(&facts, &asked, apps.config.rules, by, &act).await;
    let (change, changed) = changed.map_err(refused)?;
    let mut shares = sharing.shares(facts.workspace.id).await.map_err(AccessError::Store)?;
    shares.retain(|row| row.agent == change.agent && row.app == change.slug_or_port);
    let (added, removed) = (changed.added.len(), changed.removed.len());
    Ok(json(StatusCode::OK, &Written { added, removed, shares }))
}

/// The workspace, if the caller may read it
async fn find_workspace<S: AppPorts>(
    apps: &AppService<S>,
    caller: &SignedIn,
    asked: &ShareRequest,
) -> Result<std::sync::Arc<WorkspaceFacts>, AccessError> {
    let request = asked.request().map_err(refused)?;
    let facts = apps.store.app_access(&request, &[]).await.map_err(AccessError::store)?;
    let is_shown = |facts: &std::sync::Arc<WorkspaceFacts>| {
        facts.asked_owner == facts.workspace.owner
            && caller.subject.is_allowed(&Action::Read, &facts.workspace.object())
    };
    facts.workspace.filter(is_shown).ok_or(AccessError::NotFound)
}

fn refused(error: ShareError) -> AccessError {
    match error {
        ShareError::Store(error) => AccessError::store(error),
        error => AccessError::invalid("It is not shared.", error.to_string()),
    }
}
