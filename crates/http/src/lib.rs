#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod acts;
mod admission;
mod agents;
mod allowed;
mod apps;
mod batches;
mod body;
mod context;
mod detach;
mod error;
mod explorer;
mod freshness;
mod host;
mod imports;
mod layer;
mod limits;
mod maintenance;
mod metrics;
mod notices;
mod observer;
mod oidc;
mod omitted;
mod port_error;
mod ports;
mod proxies;
mod purpose;
mod random;
mod refresh;
mod reply;
mod request_facts;
mod request_span;
mod revocations;
mod route_groups;
mod router;
mod routes;
mod service;

pub use acts::ActAudit;
pub use allowed::{Allowed, NoAddressError, relayed_connection};
pub use app_authz::credential::SameSite;
pub use apps::{
    AppsConfig, AuditFail, CookieConfig, DecidedVisit, Housekeeping, KeysError, ParseValueError,
    Signing,
};
pub use error::{Answer, chain as error_chain};
pub use freshness::{Freshness, NonceCloudError};
pub use identity_fetch::Clock;
pub use layer::{Authorize, AuthorizeLayer};
pub use limits::Limits;
pub use maintenance::{Maintenance, MaintenanceSettings};
pub use metrics::{Exposition, HostCounts, ProcessFacts};
pub use oidc::{OidcConfig, OidcConfigError};
pub use port_error::{ErasedPortError, PortError};
pub use ports::{AgentKey, AgentPorts, AppPorts, AuditPorts, Health};
pub use proxies::{Network, ParseNetworkError, Peer, TrustedProxies};
pub use refresh::{RefreshConfig, RefreshConfigError};
pub use reply::{Branding, BrandingError, Contact, DeploymentName, Logo, ResponseBody};
pub use request_span::{ParentSpan, RequestSpan};
pub use revocations::{RevocationListener, RevocationNotice};
pub use route_groups::{RouteGroup, Routes};
pub use router::routes;
pub use service::{PeerService, Service};
