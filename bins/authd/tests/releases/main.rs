//! A running server beside the tables of each release of the control plane
//!
//! The questions are those of `testkit::World`, whose answers are known for each release. The
//! stores are tested in `crates/store/tests/releases.rs`; these tests use HTTP.

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(unreachable_pub, reason = "modules of one test")]

mod agents;
mod answers;
mod clouds;
#[path = "../common/mod.rs"]
mod common;
mod deployment;
mod sessions;
mod upgrades;
mod visits;
