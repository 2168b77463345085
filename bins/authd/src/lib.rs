//! The server that wires the authd crates onto HTTP
//!
//! Libraries decide; this crate reads the clock, the configuration and the sockets,
//! and turns decisions into answers. [`App`] is the whole application behind one
//! function, [`App::answer`], and [`serve`] puts it on a listener. The `authd`
//! command is [`run`].

mod check;
mod cli;
mod clock;
mod commands;
mod config;
mod idle;
mod log;
mod server;
mod trust;

pub use clock::system_clock;
pub use commands::run;
pub use server::{ServerLimits, serve};
pub use trust::{Trust, TrustError};

/// The examples of the repository's README
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
