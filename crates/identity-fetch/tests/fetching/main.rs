//! What authd fetches from others, against servers that misbehave
//!
//! Names, addresses and servers are in memory, so that minutes and days pass at once
//! and nothing but the code decides what happens.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod fetch;
mod issuers;
mod keys;
mod world;
