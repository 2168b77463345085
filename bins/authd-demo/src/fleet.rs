use app_authz::credential::SessionToken;
use chrono::DateTime;
use store::fleet::{Fleet, SharingLevel, Transition, WorkspaceAgent};
use uuid::Uuid;

/// Two organizations, whose machines are in various states
pub(crate) struct SampleFleet {
    pub(crate) rows: Fleet,
    /// The token of the one agent on [`ONE_AGENT`]
    pub(crate) one_agent: Uuid,
    /// The token of the agent `alpha` on [`TWO_AGENTS`]
    pub(crate) alpha: Uuid,
    /// The token of the newest agent on [`TEN_BUILDS`]
    pub(crate) tenth_build: Uuid,
    /// The token of the agent on [`AZURE_VM`]
    pub(crate) azure: Uuid,
    /// The token of the agent on [`GOOGLE_VM`]
    pub(crate) google: Uuid,
    /// A session of the owner of most workspaces
    pub(crate) alice: SessionToken,
    /// A session of another member of her organization
    pub(crate) carol: SessionToken,
}

/// An instance with one agent
pub(crate) const ONE_AGENT: &str = "i-0a11ce00000000001";
/// An instance with the agents `alpha` and `beta`
pub(crate) const TWO_AGENTS: &str = "i-0a11ce00000000002";
/// An instance that lived through ten builds of its workspace
pub(crate) const TEN_BUILDS: &str = "i-0b0b0000000000001";
/// The instance that `TWO_AGENTS` replaced at the last build
pub(crate) const REPLACED: &str = "i-0a11ce00000000003";
/// An id that the cloud assigned twice, to owners in two organizations
pub(crate) const RECYCLED: &str = "i-0c0c0000000000001";
/// A virtual machine of Azure
pub(crate) const AZURE_VM: &str = "5b0b0000-0000-4000-8000-000000000001";
/// An instance of Google
pub(crate) const GOOGLE_VM: &str = "8087716956832600000";
/// An instance that is not in the fleet
pub(crate) const UNKNOWN: &str = "i-0fffffffffffffff0";

impl SampleFleet {
    /// With the URL at which the app `code` really is, if it is anywhere
    pub(crate) fn new(app_url: Option<&str>) -> Self {
        let mut rows = Fleet::default();
        let acme = rows.organization("acme");
        let globex = rows.organization("globex");
        let alice = rows.user("alice", acme);
        let bob = rows.user("bob", globex);
        let carol = rows.user("carol", acme);

        let one = rows.workspace(alice, "one-agent");
        let build = rows.build(one, Transition::Start);
        let agent = connected(rows.agent(build.resource, "main", ONE_AGENT));
        let (one_agent, agent) = (agent.auth_token.0, agent.id);
        let code = rows.app(agent, "code");
        code.url = app_url.map(str::to_owned).or_else(|| code.url.take());
        rows.app(agent, "preview").sharing_level = SharingLevel::Organization;

        let asleep = rows.workspace(alice, "asleep");
        let build = rows.build(asleep, Transition::Start);
        let agent = rows.agent(build.resource, "main", "i-0a11ce00000000004").id;
        rows.app(agent, "code");
        rows.build(asleep, Transition::Stop);

        let two = rows.workspace(alice, "two-agents");
        let build = rows.build(two, Transition::Start);
        rows.agent(build.resource, "alpha", REPLACED);
        let build = rows.build(two, Transition::Start);
        let alpha = rows.agent(build.resource, "alpha", TWO_AGENTS).auth_token.0;
        rows.agent(build.resource, "beta", TWO_AGENTS);

        let ten = rows.workspace(bob, "ten-builds");
        let mut tenth_build = Uuid::nil();
        for _ in 0..10 {
            let build = rows.build(ten, Transition::Start);
            tenth_build = rows.agent(build.resource, "main", TEN_BUILDS).auth_token.0;
        }

        for owner in [alice, bob] {
            let workspace = rows.workspace(owner, "recycled");
            let build = rows.build(workspace, Transition::Start);
            rows.agent(build.resource, "main", RECYCLED);
        }

        let [azure, google] = [AZURE_VM, GOOGLE_VM].map(|machine| {
            let workspace = rows.workspace(bob, &format!("on-{machine}"));
            let build = rows.build(workspace, Transition::Start);
            rows.agent(build.resource, "main", machine).auth_token.0
        });
        let [alice, carol] = [alice, carol].map(|user| rows.session(user));
        Self { rows, one_agent, alpha, tenth_build, azure, google, alice, carol }
    }

    /// The name of a user
    pub(crate) fn name_of(&self, user: Uuid) -> &str {
        let found = self.rows.users.iter().find(|row| row.id == user);
        found.map_or("(nobody)", |user| &user.username)
    }

    pub(crate) fn summary(&self) -> String {
        format!(
            "{} organizations, {} workspaces, {} builds, {} agents",
            self.rows.organizations.len(),
            self.rows.workspaces.len(),
            self.rows.workspace_builds.len(),
            self.rows.workspace_agents.len(),
        )
    }
}

/// Connects an agent for as long as the demonstration may last
fn connected(agent: &mut WorkspaceAgent) -> &WorkspaceAgent {
    agent.first_connected_at = Some(agent.created_at);
    agent.last_connected_at = DateTime::from_timestamp(LONG_FROM_NOW, 0);
    agent
}

/// The last day of the year 9999
const LONG_FROM_NOW: i64 = 253_402_214_400;
