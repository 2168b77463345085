//! The server that wires the authd crates onto HTTP
//!
//! Libraries decide; this crate reads the clock, the configuration and the sockets,
//! and turns decisions into answers. [`App`] is the whole application behind one
//! function, [`App::answer`], and [`serve`] puts it on a listener. The `authd`
//! command is [`run`].

mod app;
mod apps;
mod check;
mod cli;
pub mod client;
mod commands;
mod config;
mod error;
mod identity;
mod idle;
mod import;
pub mod machine;
mod malformed;
pub mod outgoing;
mod pages;
mod quote;
mod random;
mod router;
mod routes;
mod server;
mod telemetry;
mod to_the_end;
mod trust;

pub use app::{App, Clock, system_clock};
pub use apps::{
    AppsConfig, AuditFail, CookieConfig, KeysError, Network, NoNetwork, SameSite, Signing,
    TrustedProxies,
};
pub use commands::run;
pub use config::Limits;
pub use identity::{Identity, Online};
pub use router::routes;
pub use server::serve;
