//! What a request leads to, and whether a subject may open it
//!
//! [`resolve`] finds the [`Target`] of an [`AppRequest`] among the facts that a [`Directory`]
//! has. [`decide`] answers with a [`Permit`] or a [`Denial`]; nothing else builds a permit.

mod agent;
mod decide_with;
mod decision;
mod directory;
mod grant;
mod locate;
mod people;
mod port;
mod request;
mod resolve;
mod revocation;
mod sharing;
mod target;

pub use agent::{Agent, AgentStatus, Contact, INACTIVE_TIMEOUT};
pub use decide_with::{Question, decide_with};
pub use decision::{Basis, Denial, Permit, Reason, Rules, Warning, decide};
pub use directory::{AppFacts, Directory, DynDirectory};
pub use grant::{Grant, Visitor};
pub use locate::terminal_agent;
pub use people::{People, PeopleShare, Person};
pub use port::Port;
pub use request::{AccessMethod, AppRequest, RequestError, UncheckedRequest};
pub use resolve::{App, PortShare, ResolveError, Transition, WorkspaceFacts, resolve};
pub use revocation::{Connection, Mask, Revocation, RevocationReason};
pub use sharing::SharingLevel;
pub use target::{CorsBehavior, Target, Workspace};
