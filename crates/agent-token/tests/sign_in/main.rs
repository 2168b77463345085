//! A machine signs in against metadata services and control planes that misbehave
//!
//! Pauses and timeouts are arguments and short here. Nothing waits for time to pass but the code
//! that is tested.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod addresses;
mod detection;
mod messages;
mod nonces;
mod proxy;
mod retries;
mod tls;
mod world;
