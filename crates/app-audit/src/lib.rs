#![doc = include_str!("../README.md")]

mod event;
mod housekeeping;
mod key;
mod log;
mod port;
mod record;
mod recorder;
mod session;
mod time;

pub use event::{AgentId, AppId, Event, OrganizationId, Resource, UserId, Workspace, WorkspaceId};
pub use housekeeping::Housekeeping;
pub use key::{SessionKey, parse_ip};
pub use log::{App, AuditLog, Cursor, Filter, NoCursor, Page, Row};
pub use port::{Answer, Count, Entry, Journal, Noted};
pub use record::{Decision, Record};
pub use recorder::{Drained, Observer, Receipt, Recorder, Settings, Stats, Unrecorded};
pub use session::{Session, Visit, Window};
