//! The server and the command line of authd
//!
//! The other crates decide. This one reads the command line, the configuration, the clock and
//! the trust folder, listens on a socket, and writes the log. [`serve`] puts an
//! [`authd_http::Service`] on a listener, and [`run`] is the command `authd`.
//!
//! Modules only use the ones before them: `clock` and `random`, `config`, `log`, `server`,
//! `traces`, `check`, `cli`, `commands`.

mod check;
mod cli;
mod clock;
mod commands;
mod config;
mod log;
mod random;
mod server;
#[cfg(feature = "otlp")]
mod traces;

/// Limits on connections, and on the time that a server takes to stop
pub use authd_server::Limits as ServerLimits;
pub use clock::system_clock;
pub use commands::run;
pub use server::serve;

/// The examples of the repository's README
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
