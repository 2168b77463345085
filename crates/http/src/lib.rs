//! Agent sign-in, app access and audit as one HTTP service over a store

mod apps;
mod detach;
mod error;
mod limits;
mod metrics;
mod pages;
mod quote;
mod random;
mod router;
mod routes;
mod service;

pub use apps::{
    AppsConfig, AuditFail, CookieConfig, KeysError, Network, ParseNetworkError, SameSite, Signing,
    TrustedProxies,
};
pub use error::chain as error_chain;
pub use limits::Limits;
pub use random::with_random;
pub use router::routes;
pub use service::{Clock, Service};
