//! The audit explorer: the log of visits as a page, and as files
//!
//! Everything is in the address of the page: it is a form that is sent with GET. There is no
//! script. What visitors made up, such as slugs and user agents, is escaped.

mod acts;
mod export;
mod form;
mod page;
mod plot;
mod rows;
mod style;
mod table;

pub(crate) use self::export::{Format, export};
pub(crate) use self::form::{Field, Form, Selection};
pub(crate) use self::page::Page;
pub(crate) use self::rows::Rows;
pub(crate) use self::style::STYLE;
