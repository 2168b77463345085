#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod candidate;
mod candidates;
#[cfg(feature = "conformance")]
pub mod conformance;
mod dynamic;
mod instance;
mod select;

pub use candidate::{AgentId, AgentToken, BuildId, Candidate, Standing, WorkspaceId};
pub use candidates::{Candidates, CandidatesOf, MAX_CANDIDATES};
pub use dynamic::{BoxFuture, DynCandidates, ErasedError};
pub use instance::ProvenInstance;
pub use select::{Denial, Rules, select};
