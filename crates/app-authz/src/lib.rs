#![doc = include_str!("../README.md")]

pub mod rbac;

mod error;
mod id;

pub use error::Error;
pub use id::{GroupId, OrganizationId, TemplateId, TemplateVersionId, UserId, WorkspaceId};
