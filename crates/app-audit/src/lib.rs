#![doc = include_str!("../README.md")]

mod act;
mod act_journal;
mod act_log;
mod event;
mod housekeeping;
mod journal;
mod key;
mod limiter;
mod log;
mod record;
mod recorder;
mod session;
mod source;
mod spool;
mod time;

pub use act::{Act, ActKind, ParseLabelError, Subject, SubjectKind};
pub use act_journal::ActJournal;
pub use act_log::{ActFilter, ActLog, ActRow};
pub use event::{AgentId, AppId, Event, OrganizationId, Resource, UserId, Workspace, WorkspaceId};
pub use housekeeping::Housekeeping;
pub use journal::{Answer, Count, Entry, Journal, Noted};
pub use key::{ParseKeyError, SessionKey, parse_ip};
pub use log::{App, AuditLog, Cursor, Filter, Page, ParseCursorError, Row};
pub use record::{Decision, Record};
pub use recorder::{
    ActRecorder, Drained, Observer, Receipt, RecordError, Recorder, Settings, Stats,
};
pub use session::{Session, Visit, Window};
pub use spool::{Spool, SpoolError, SpoolFile, Spooled, spool_act_line, spool_line};
