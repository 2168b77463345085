//! Clouds that sign like the real ones, with keys made on the spot
//!
//! For tests and demonstrations: they panic where a library would return an error.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has no better answer")]

pub mod aws;

use std::time::SystemTime;

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The time an RFC 3339 date names
///
/// # Panics
///
/// If `rfc3339` is not a date.
#[must_use]
pub fn at(rfc3339: &str) -> SystemTime {
    crate::time::rfc3339(rfc3339).expect("an RFC 3339 date")
}

/// Base64 in lines of 76 digits, as metadata services write it
fn lines(bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let lines: Vec<&str> =
        text.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    lines.join("\n")
}
