use crate::app::CorsBehavior;
use crate::id::{AgentId, UserId, WorkspaceId};

/// What a [`Permit`](crate::Permit) proves: who may open what, and where it is served
///
/// An app token carries the same facts ([`AppToken::grant`](crate::token::AppToken::grant)),
/// so that a caller handles a visit that was just decided like one that presents a token. The
/// value alone proves nothing: only a permit can be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The visitor who was allowed in
    pub visitor: Visitor,
    /// The user who owns the workspace
    pub owner: UserId,
    /// The workspace of the app
    pub workspace: WorkspaceId,
    /// The agent that serves the app
    pub agent: AgentId,
    /// The address at which the agent serves the app; empty for a terminal
    pub url: String,
    /// Which side answers cross-origin requests to the app
    pub cors: CorsBehavior,
}

/// The visitor a decision was made for
///
/// A token is a bearer credential: the sender of a request may be another user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visitor {
    /// A signed-in user
    User(UserId),
    /// A visitor who is not signed in; the app is public
    Anonymous,
    /// Not known: the token was issued by the control plane, whose tokens do not name the
    /// visitor
    Unspecified,
}
