#![doc = include_str!("../README.md")]

mod event;
mod housekeeping;
mod journal;
mod key;
mod limiter;
mod log;
mod prune;
mod record;
mod recorder;
mod session;
mod source;
mod spool;
mod time;

pub use event::{AgentId, AppId, Event, OrganizationId, Resource, UserId, Workspace, WorkspaceId};
pub use housekeeping::Housekeeping;
pub use journal::{Answer, Count, Entry, Journal, Noted};
pub use key::{ParseKeyError, SessionKey, parse_ip};
pub use log::{App, AuditLog, Cursor, Filter, Page, ParseCursorError, Row};
pub use prune::{Age, ParseAgeError, prune};
pub use record::{Decision, Record};
pub use recorder::{Drained, Observer, Receipt, RecordError, Recorder, Settings, Stats};
pub use session::{Session, Visit, Window};
pub use spool::{Spool, SpoolError, SpoolFile, Spooled, spool_line};
