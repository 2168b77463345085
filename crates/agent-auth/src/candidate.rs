use std::fmt;

use uuid::Uuid;

/// An agent row that carries the instance id of a verified proof
///
/// Only root agents that are not soft-deleted and belong to a workspace build are
/// candidates. Sub-agents and the agents of template imports are none, whatever
/// instance id they carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The agent
    pub agent: AgentId,
    /// Its name, unique among the live agents of one build in a sound database
    pub name: String,
    /// What the instance receives if this candidate is selected
    pub token: AgentToken,
    /// The build that created the agent
    pub build: BuildId,
    /// The workspace of that build
    pub workspace: WorkspaceId,
    /// Whether the agent may still sign in
    pub standing: Standing,
}

/// Whether a candidate's build is the one that counts
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Of the newest build of a workspace that exists
    Live,
    /// Of an earlier build: each rebuild inserts a new agent row, and the machine
    /// keeps its instance id
    Stale,
    /// Of a workspace that was deleted, whichever build
    Deleted,
}

/// The session token of an agent: a bearer secret
///
/// `Debug` prints nothing of it, and there is no `Display`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AgentToken(Uuid);

impl AgentToken {
    /// Takes the token as stored
    #[must_use]
    pub const fn new(token: Uuid) -> Self {
        Self(token)
    }

    /// The secret itself, for the answer to the instance and nothing else
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
