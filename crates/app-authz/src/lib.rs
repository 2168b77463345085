#![doc = include_str!("../README.md")]

pub mod credential;
pub mod rbac;
pub mod token;

mod agent;
mod decision;
mod digest;
mod directory;
mod error;
mod host;
mod id;
mod port;
mod provisioner_job;
mod proxy;
mod redirect;
mod request;
mod resolve;
mod sharing;
mod target;
mod url;

pub use agent::{Agent, AgentStatus, Contact, INACTIVE_TIMEOUT};
pub use decision::{Denial, Permit, Reason, Rules, Warning, decide};
pub use directory::{AppAccess, Directory};
pub use error::Error;
pub use host::{AgentInHost, AppName, HostMeaning, HostPattern};
pub use id::{
    AgentId, AppId, GroupId, JobId, NameOrId, OrganizationId, TemplateId, TemplateVersionId,
    UserId, WorkspaceId,
};
pub use port::Port;
pub use provisioner_job::{
    JobDenial, JobKind, JobOrigin, Jobs, ProvisionerJob, authorize_provisioner_job,
};
pub use proxy::{PROXY_TOKEN_HEADER, Proxies, Proxy, ProxyToken};
pub use redirect::{Envelope, RedirectHosts, SignIn, auth_redirect, login};
pub use request::{AccessMethod, AppRequest, RequestFault, UncheckedRequest};
pub use resolve::{App, Place, PortShare, Transition, Unresolved, resolve};
pub use sharing::SharingLevel;
pub use target::{CorsBehavior, Target, Workspace};
pub use url::{HttpUrl, Scheme, encode_query_value};
