use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::MAX_CANDIDATES;

/// What the tables of an implementation hold while a [`Rule`](super::Rule) is checked
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rows {
    /// The workspaces, with their builds and agents
    pub workspaces: Vec<Workspace>,
    /// Agents that belong to no build of a workspace: those of template imports
    pub without_build: Vec<Agent>,
}

/// A workspace
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Workspace {
    /// The workspace's name, which no other has
    pub name: String,
    /// Whether the workspace was deleted
    pub is_deleted: bool,
    /// The workspace's builds, the oldest first
    pub builds: Vec<Build>,
}

/// A build of a workspace
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Build {
    /// The build's number: the newest build of a workspace has the greatest
    pub number: u32,
    /// The agents that the build created; a build that stops a workspace has none
    pub agents: Vec<Agent>,
}

/// An agent
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Agent {
    /// The agent's name
    pub name: String,
    /// The id of the instance that the agent runs on
    pub instance: String,
    /// The agent's session token, which no other agent has
    ///
    /// Tables whose tokens are texts hold this one in its hyphenated form: checks compare the
    /// texts.
    pub token: Uuid,
    /// When the row was created
    pub created_at: SystemTime,
    /// Whether the row is soft-deleted
    pub is_deleted: bool,
    /// Whether another agent started this one: the first of the same build
    pub is_sub_agent: bool,
}

impl Rows {
    /// Returns all agents that belong to a build, each with the build and the workspace
    pub fn agents(&self) -> impl Iterator<Item = (&Workspace, &Build, &Agent)> {
        self.workspaces.iter().flat_map(|workspace| {
            let builds = workspace.builds.iter();
            builds.flat_map(move |build| build.agents.iter().map(move |a| (workspace, build, a)))
        })
    }

    /// Adds a workspace, to which the next builds belong
    fn workspace(mut self, name: &str) -> Self {
        let name = name.to_owned();
        self.workspaces.push(Workspace { name, ..Workspace::default() });
        self
    }

    /// Adds a build to the last workspace, with agents that have names and instances
    fn build(mut self, agents: &[(&str, &str)]) -> Self {
        let agents = agents.iter().map(|(name, instance)| self.agent(name, instance)).collect();
        if let Some(workspace) = self.workspaces.last_mut() {
            let number = workspace.builds.last().map_or(1, |build| build.number + 1);
            workspace.builds.push(Build { number, agents });
        }
        self
    }

    /// An agent that is a minute younger than those of earlier builds
    fn agent(&self, name: &str, instance: &str) -> Agent {
        let builds = self.workspaces.iter().map(|workspace| workspace.builds.len());
        let minute = u64::try_from(builds.sum::<usize>()).unwrap_or(u64::MAX);
        // Tokens differ by workspace, build and name, and are the same each time.
        let mut token = 0xcbf2_9ce4_8422_2325_u128;
        for byte in minute.to_be_bytes().into_iter().chain(name.bytes()) {
            token = (token ^ u128::from(byte)).wrapping_mul(0x0100_0000_01b3_0001_0000_01b3);
        }
        Agent {
            name: name.to_owned(),
            instance: instance.to_owned(),
            token: uuid::Builder::from_random_bytes(token.to_be_bytes()).into_uuid(),
            created_at: SystemTime::UNIX_EPOCH + Duration::from_secs(FIRST + 60 * minute),
            is_deleted: false,
            is_sub_agent: false,
        }
    }

    /// Changes the last agent
    fn last(mut self, change: impl FnOnce(&mut Agent)) -> Self {
        let builds = self.workspaces.last_mut().and_then(|workspace| workspace.builds.last_mut());
        if let Some(agent) = builds.and_then(|build| build.agents.last_mut()) {
            change(agent);
        }
        self
    }

    fn deleted(mut self) -> Self {
        if let Some(workspace) = self.workspaces.last_mut() {
            workspace.is_deleted = true;
        }
        self
    }
}

pub(super) fn the_agent_of_an_instance_is_found() -> Rows {
    let rows = Rows::default().workspace("dev").build(&[("main", ID), ("other", OTHER_ID)]);
    rows.workspace("other").build(&[("elsewhere", "i-0abd")])
}

pub(super) fn ids_are_compared_byte_for_byte() -> Rows {
    Rows::default().workspace("dev").build(&[("main", ID)])
}

pub(super) fn any_text_is_an_id() -> Rows {
    ODD_IDS.iter().zip(0..).fold(Rows::default(), |rows, (id, n)| {
        rows.workspace(&format!("dev-{n}")).build(&[("main", id)])
    })
}

pub(super) fn a_uuid_is_found_in_either_case() -> Rows {
    let agents = [("alpha", &*UUID.to_uppercase()), ("beta", UUID)];
    Rows::default().workspace("dev").build(&agents)
}

pub(super) fn all_agents_of_the_newest_build_are_live() -> Rows {
    Rows::default().workspace("dev").build(&[("beta", ID), ("alpha", ID)])
}

pub(super) fn candidates_have_the_ids_of_their_rows() -> Rows {
    let rows = Rows::default().workspace("dev").build(&[("old", ID)]);
    rows.build(&[("alpha", ID), ("beta", ID)]).workspace("other").build(&[("gamma", ID)])
}

pub(super) fn sub_agents_are_not_candidates() -> Rows {
    let rows = Rows::default().workspace("dev").build(&[("main", ID), ("child", ID)]);
    rows.last(|agent| agent.is_sub_agent = true)
}

pub(super) fn deleted_agents_are_not_candidates() -> Rows {
    let rows = Rows::default().workspace("dev").build(&[("main", ID), ("former", ID)]);
    rows.last(|agent| agent.is_deleted = true)
}

pub(super) fn agents_without_a_build_are_not_candidates() -> Rows {
    let mut rows = Rows::default().workspace("dev").build(&[("main", ID)]);
    rows.without_build = vec![rows.agent("imported", ID)];
    rows
}

pub(super) fn agents_of_earlier_builds_are_stale_and_the_newest_come_first() -> Rows {
    builds(10)
}

pub(super) fn a_newer_build_without_agents_makes_all_stale() -> Rows {
    Rows::default().workspace("dev").build(&[("main", ID)]).build(&[])
}

pub(super) fn agents_of_a_deleted_workspace_are_deleted() -> Rows {
    let rows = Rows::default().workspace("dev").build(&[("first", ID)]);
    rows.build(&[("last", ID)]).deleted()
}

pub(super) fn an_id_in_two_workspaces_is_live_in_both() -> Rows {
    let rows = Rows::default().workspace("dev").build(&[("first", ID)]);
    rows.workspace("other").build(&[("second", ID)])
}

pub(super) fn live_agents_come_before_younger_stale_ones() -> Rows {
    let rows = Rows::default().workspace("dev").build(&[("live", ID)]);
    rows.workspace("rebuilt").build(&[("stale", ID)]).build(&[])
}

pub(super) fn history_never_pushes_out_a_live_agent() -> Rows {
    builds(MAX_CANDIDATES + 10)
}

pub(super) fn one_more_than_the_most_live_agents_is_returned() -> Rows {
    let names: Vec<String> = (0..MAX_CANDIDATES + 10).map(|n| format!("agent-{n}")).collect();
    let agents: Vec<_> = names.iter().map(|name| (&**name, ID)).collect();
    Rows::default().workspace("dev").build(&agents)
}

pub(super) fn agents_of_one_moment_are_in_the_same_order_each_time() -> Rows {
    let agents = ["c", "a", "e", "b", "d"].map(|name| (name, ID));
    Rows::default().workspace("dev").build(&agents)
}

pub(super) fn a_pin_is_the_newest_moment_of_an_instance_in_a_build() -> Rows {
    let rows = Rows::default().workspace("dev").build(&[("old", ID)]);
    rows.build(&[("main", ID), ("other", OTHER_ID)])
}

pub(super) fn the_spellings_of_a_uuid_share_a_pin() -> Rows {
    a_uuid_is_found_in_either_case()
}

pub(super) fn each_live_build_of_an_instance_is_pinned() -> Rows {
    an_id_in_two_workspaces_is_live_in_both()
}

/// So many builds of one workspace, whose agents are named after their numbers
fn builds(count: usize) -> Rows {
    (1..=count).fold(Rows::default().workspace("dev"), |rows, number| {
        rows.build(&[(&format!("build-{number}"), ID)])
    })
}

/// The instance that most rules are about
pub(super) const ID: &str = "i-0abc";

/// An instance whose id begins like [`ID`]
pub(super) const OTHER_ID: &str = "i-0abcd";

/// An id of Azure's form
pub(super) const UUID: &str = "02aab8a4-74ef-476e-8182-f6d2ba4166a6";

/// Texts that a statement made of text would break on
pub(super) const ODD_IDS: [&str; 6] =
    ["", "' OR '1'='1", "\"quoted\" \\ and 'quoted'", "ünïcödé-\u{1f510}", "tab\tand\u{7f}", "$1"];

/// When the first build was, in seconds since 1970
const FIRST: u64 = 1_795_219_200;
