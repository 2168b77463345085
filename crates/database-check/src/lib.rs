#![doc = include_str!("../README.md")]

mod database;
mod finding;
mod names;

pub use crate::database::{Expected, of_database};
pub use crate::finding::{Finding, State, log};
