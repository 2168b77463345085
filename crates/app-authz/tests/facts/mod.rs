//! The workspace that the tests of app tokens are about

use std::time::SystemTime;

use app_authz::app::{Agent, App, Contact, Transition, Workspace, WorkspaceFacts};
use app_authz::id::{AppId, OrganizationId};
use app_authz::{AgentId, UserId, WorkspaceId};
use uuid::Uuid;

/// The id of the workspace's agent
pub(crate) const AGENT: &str = "00000000-0000-0000-0000-000000000004";

/// The workspace `bar` of the user `foo`, with an agent of that name that serves one app
pub(crate) fn of_app(agent: &str, slug: &str) -> WorkspaceFacts {
    let owner = UserId(Uuid::from_u128(1));
    let workspace = Workspace::new(
        (WorkspaceId(Uuid::from_u128(2)), "bar"),
        (owner, "foo"),
        OrganizationId(Uuid::from_u128(3)),
    );
    let id = AgentId(AGENT.parse().unwrap());
    let app = App::new(AppId(Uuid::from_u128(5)), id, slug, "http://127.0.0.1:8080");
    WorkspaceFacts::new(owner, workspace, Transition::Start, None)
        .with_agents([Agent::new(id, agent, Contact::new(SystemTime::UNIX_EPOCH))])
        .with_apps([app])
}
