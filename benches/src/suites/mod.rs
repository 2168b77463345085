//! Every comparison: what both sides do, and which goal ours has
//!
//! A suite panics if it cannot be prepared, or if the sides do not agree on an answer: figures of a
//! wrong answer mean nothing.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made has failed")]

mod app_access;
mod audit;
mod connections;
mod corpus;
mod decisions;
mod growth;
mod http;
mod memory;
mod peers;
mod proofs;
mod refusals;
mod sign_in;
mod tokens;

pub use app_access::APP_ACCESS;
pub use audit::AUDIT;
pub use decisions::DECISIONS;
pub use growth::GROWTH;
pub use http::{FORWARD_AUTH, ISSUING, Profiled, profile};
pub use memory::MEMORY;
pub use peers::PEERS;
pub use proofs::PROOFS;
pub use refusals::REFUSALS;
pub use sign_in::SIGN_IN;
pub use tokens::TOKENS;

use crate::Suite;

/// All suites, in the order of the report
pub const ALL: [&Suite; 12] = [
    &SIGN_IN,
    &PROOFS,
    &REFUSALS,
    &DECISIONS,
    &PEERS,
    &TOKENS,
    &APP_ACCESS,
    &ISSUING,
    &FORWARD_AUTH,
    &AUDIT,
    &GROWTH,
    &MEMORY,
];

/// The suites whose operations run on one thread, so that their allocations can be counted
pub const WITH_ALLOCATIONS: [&str; 3] = ["proofs", "decisions", "tokens"];

/// The number of callers that ask at the same time
const CALLERS: usize = 16;

/// Spreads successive calls over rows, so that neighbours in time are not neighbours on disk
const fn spread(call: u64) -> u64 {
    call.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}
