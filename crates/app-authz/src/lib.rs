#![doc = include_str!("../README.md")]

pub mod rbac;

mod decision;
mod error;
mod id;
mod request;
mod sharing;
mod target;

pub use decision::{Denial, Permit, Reason, Rules, Warning, decide};
pub use error::Error;
pub use id::{
    AgentId, AppId, GroupId, OrganizationId, TemplateId, TemplateVersionId, UserId, WorkspaceId,
};
pub use request::{AccessMethod, AppRequest, RequestFault, UncheckedRequest};
pub use sharing::SharingLevel;
pub use target::{Target, Workspace};
