use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use uuid::Uuid;

/// An agent row that carries the instance id of a verified proof
///
/// Only root agents that are not soft-deleted and belong to a workspace build are
/// candidates. Sub-agents and the agents of template imports are not candidates, even if
/// they carry the instance id.
///
/// `Id` is the type of the tables' primary keys, and `Token` that of the agents' tokens. Both are
/// UUIDs unless [`Candidates::Id`](crate::Candidates::Id) and
/// [`Candidates::Token`](crate::Candidates::Token) say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate<Id = Uuid, Token = Uuid> {
    /// The agent's id
    pub agent: AgentId<Id>,
    /// The agent's name, unique among the live agents of one build in a sound database
    pub name: String,
    /// The session token that the instance receives if this candidate is selected
    pub token: AgentToken<Token>,
    /// The build that created the agent
    pub build: BuildId<Id>,
    /// The workspace of the agent's build
    pub workspace: WorkspaceId<Id>,
    /// Whether the agent may still sign in
    pub standing: Standing,
    /// The newest moment that a cloud has signed with a proof of this instance in this build, with
    /// the proof at hand; `None` if pins were not asked for
    pub pinned: Option<SystemTime>,
}

impl<Id, Token> Candidate<Id, Token> {
    /// Returns the candidate with these fields, for implementations of [`Candidates`]
    ///
    /// [`Candidates`]: crate::Candidates
    #[must_use]
    pub const fn new(
        agent: AgentId<Id>,
        name: String,
        token: AgentToken<Token>,
        build: BuildId<Id>,
        workspace: WorkspaceId<Id>,
        standing: Standing,
    ) -> Self {
        Self { agent, name, token, build, workspace, standing, pinned: None }
    }

    /// Returns the same candidate, with the pin of the instance in the candidate's build
    #[must_use]
    pub fn with_pinned(self, pinned: impl Into<Option<SystemTime>>) -> Self {
        Self { pinned: pinned.into(), ..self }
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
/// `Debug` hides the secret, and neither `Display` nor `Serialize` is implemented.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AgentToken<Token = Uuid>(Token);

impl<Token> AgentToken<Token> {
    /// Wraps a stored token
    #[must_use]
    pub const fn new(token: Token) -> Self {
        Self(token)
    }

    /// Returns the secret itself, for the answer to the instance only
    #[must_use]
    pub const fn reveal(&self) -> &Token {
        &self.0
    }
}

impl<Token> fmt::Debug for AgentToken<Token> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentToken(..)")
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// `Display` and `FromStr` are those of the key. With the feature `serde`, so are
        /// `Serialize` and `Deserialize`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(transparent))]
        pub struct $name<Id = Uuid>(pub Id);

        impl<Id: fmt::Display> fmt::Display for $name<Id> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl<Id: FromStr> FromStr for $name<Id> {
            type Err = Id::Err;

            fn from_str(text: &str) -> Result<Self, Id::Err> {
                text.parse().map(Self)
            }
        }

        impl<Id> From<Id> for $name<Id> {
            fn from(id: Id) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
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
        assert_eq!(format!("{:?}", AgentToken::new("secret")), "AgentToken(..)");
    }
}
