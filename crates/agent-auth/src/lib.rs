#![doc = include_str!("../README.md")]

mod candidate;
mod port;
mod select;

pub use candidate::{AgentId, AgentToken, BuildId, Candidate, Standing, WorkspaceId};
pub use port::{Candidates, MAX_CANDIDATES};
pub use select::{Refusal, Rules, select};
