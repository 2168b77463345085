#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod access;
mod check;
mod document;
mod document_error;
mod export;
mod files;
mod import;
mod listing;
mod meter;
mod names;
mod object;
mod progress;
mod read_error;
mod rows;
mod scanner;
mod section;
mod source;
mod warnings;

pub use document::Document;
pub use document_error::DocumentError;
pub use export::{ExportError, Secrets, export};
pub use files::{NewFile, scratch};
pub use import::{Event, ImportError, Options, import};
pub use listing::Listing;
pub use meter::Meter;
pub use progress::{Progress, Step};
pub use read_error::ReadError;
pub use source::Source;
pub use warnings::Warning;
