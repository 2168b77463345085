#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod act;
mod act_journal;
mod act_log;
#[cfg(feature = "conformance")]
pub mod conformance;
mod dynamic;
mod event;
mod explorer;
mod export;
mod groups;
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
mod table;
mod tail;
mod time;

pub use act::{Act, ActKind, ParseLabelError, Subject, SubjectKind};
pub use act_journal::ActJournal;
pub use act_log::{ActFilter, ActLog, ActRow};
pub use dynamic::{
    BoxFuture, DynActJournal, DynActLog, DynAuditExplorer, DynAuditLog, DynJournal, ErasedError,
};
pub use event::{AgentId, AppId, Event, OrganizationId, Resource, UserId, Workspace, WorkspaceId};
pub use explorer::{AuditExplorer, End, Found, Listed, Names, Plot, Step};
pub use export::{ACTS_CSV_HEAD, CSV_HEAD, act_csv_line, act_json_line, csv_line, json_line};
pub use groups::{Changes, Groups, Kept};
pub use housekeeping::Housekeeping;
pub use journal::{Answer, Count, Entry, Journal, Noted};
pub use key::{ParseKeyError, SessionKey, parse_ip};
pub use log::{App, AuditLog, Cursor, Filter, Page, ParseCursorError, Row};
pub use prune::{Age, ParseAgeError, prune};
pub use record::{Decision, Record};
pub use recorder::{
    ActRecorder, Drained, Observer, Receipt, RecordError, Recorder, Settings, Stats,
};
pub use session::{Session, Visit, Window};
pub use spool::{Spool, SpoolError, SpoolFile, Spooled, spool_act_line, spool_line};
pub use table::{Table, Width, printable};
pub use tail::Tail;
pub use time::parse_time;
