//! The machine's side of a sign-in, against metadata services and control planes that
//! misbehave
//!
//! Pauses and timeouts are arguments and short here; nothing waits for a time to pass but
//! the code that is tested.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod addresses;
mod detection;
mod patience;
mod process;
mod proxy;
mod tls;
mod words;
mod world;
