//! Clouds that sign like the real ones, with keys made on the spot
//!
//! For tests and demonstrations: they panic where a library would return an error.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has no better answer")]

pub mod aws;
pub mod azure;
pub mod cms;
#[doc(hidden)]
pub mod fuzz;
pub mod google;
mod key;
pub mod server;

use std::time::SystemTime;

pub use key::{Hash, Key};

/// The time an RFC 3339 date names
///
/// # Panics
///
/// If `rfc3339` is not a date.
#[must_use]
pub fn at(rfc3339: &str) -> SystemTime {
    crate::time::rfc3339(rfc3339).expect("an RFC 3339 date")
}
