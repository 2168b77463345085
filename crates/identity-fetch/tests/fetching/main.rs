//! Fetches from servers that misbehave
//!
//! Names, addresses and servers are in memory and time is simulated, so days pass at once and the
//! outcome does not depend on the network.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod fetch;
mod issuers;
mod keys;
mod tls;
mod world;
