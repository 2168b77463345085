#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod acts;
mod admission;
mod agents;
mod apps;
mod body;
mod context;
mod detach;
mod error;
mod explorer;
mod host;
mod limits;
mod metrics;
mod observer;
mod omitted;
mod proxies;
mod purpose;
mod random;
mod reply;
mod request_facts;
mod request_span;
mod router;
mod routes;
mod service;

pub use acts::ActAudit;
pub use apps::{
    AppsConfig, AuditFail, CookieConfig, Housekeeping, KeysError, ParseValueError, SameSite,
    Signing,
};
pub use error::chain as error_chain;
pub use identity_fetch::Clock;
pub use limits::Limits;
pub use metrics::{HostCounts, ProcessFacts};
pub use proxies::{Network, ParseNetworkError, TrustedProxies};
pub use reply::{Branding, BrandingError, Contact, DeploymentName, Logo, ResponseBody};
pub use request_span::{ParentSpan, RequestSpan};
pub use router::routes;
pub use service::{Peer, Service};
