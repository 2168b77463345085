#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod candidate;
mod candidates;
mod instance;
mod select;

pub use candidate::{AgentId, AgentToken, BuildId, Candidate, Standing, WorkspaceId};
pub use candidates::{Candidates, MAX_CANDIDATES};
pub use instance::ProvenInstance;
pub use select::{Denial, Rules, select};
