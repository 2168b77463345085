#![doc = include_str!("../README.md")]

mod event;
mod key;
mod port;
mod record;
mod session;

pub use event::{AgentId, AppId, Event, OrganizationId, Resource, UserId, Workspace, WorkspaceId};
pub use key::{SessionKey, parse_ip};
pub use port::{Journal, Noted};
pub use record::Record;
pub use session::{Session, Visit, Window};
