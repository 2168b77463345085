//! App access: who asks for which app, and what they are answered

mod config;
mod cookies;
mod forwarded;

pub use config::{AppsConfig, AuditFail, CookieConfig, SameSite, Signing};
pub use forwarded::{Network, NoNetwork, TrustedProxies};
