use std::fmt;

use uuid::Uuid;

/// An agent row that carries the instance id of a verified proof
///
/// Only root agents that are not soft-deleted and belong to a workspace build are
/// candidates. Sub-agents and the agents of template imports are not candidates, even if
/// they carry the instance id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// The agent's id
    pub agent: AgentId,
    /// The agent's name, unique among the live agents of one build in a sound database
    pub name: String,
    /// The session token that the instance receives if this candidate is selected
    pub token: AgentToken,
    /// The build that created the agent
    pub build: BuildId,
    /// The workspace of the agent's build
    pub workspace: WorkspaceId,
    /// Whether the agent may still sign in
    pub standing: Standing,
}

impl Candidate {
    /// Returns the candidate with these fields, for implementations of [`Candidates`]
    ///
    /// [`Candidates`]: crate::Candidates
    #[must_use]
    pub const fn new(
        agent: AgentId,
        name: String,
        token: AgentToken,
        build: BuildId,
        workspace: WorkspaceId,
        standing: Standing,
    ) -> Self {
        Self { agent, name, token, build, workspace, standing }
    }
}

/// Whether a candidate belongs to the newest build of an existing workspace
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// The agent belongs to the newest build of a workspace that is not deleted
    Live,
    /// The agent belongs to an earlier build
    ///
    /// Each rebuild inserts a new agent row, and the machine keeps its instance id.
    Stale,
    /// The agent's workspace was deleted
    Deleted,
}

/// The session token of an agent: a bearer secret
///
/// `Debug` hides the secret, and `Display` is not implemented.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AgentToken(Uuid);

impl AgentToken {
    /// Wraps a stored token
    #[must_use]
    pub const fn new(token: Uuid) -> Self {
        Self(token)
    }

    /// Returns the secret itself, for the answer to the instance only
    #[must_use]
    pub const fn reveal(&self) -> Uuid {
        self.0
    }
}

impl fmt::Debug for AgentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentToken(..)")
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// Primary key of an agent
    AgentId
);
id!(
    /// Primary key of a workspace build
    BuildId
);
id!(
    /// Primary key of a workspace
    WorkspaceId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_printed() {
        let token = AgentToken::new(Uuid::from_u128(0xdead_beef));
        assert_eq!(format!("{token:?}"), "AgentToken(..)");
    }
}
