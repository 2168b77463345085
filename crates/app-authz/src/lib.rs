#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod address;
pub mod app;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod credential;
pub mod id;
pub mod jobs;
pub mod proxy;
pub mod rbac;
pub mod token;

mod digest;
mod error;
mod percent;
mod port;

pub use app::{
    AppRequest, Denial, Directory, Grant, Permit, Rules, Target, decide, decide_with, resolve,
};
pub use error::{Cause, Error};
pub use id::{AgentId, UserId, WorkspaceId};
pub use port::BoxFuture;
