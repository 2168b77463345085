#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod database;
mod finding;
mod names;

pub use crate::database::{Expected, of_database};
pub use crate::finding::{Finding, State, log};
