#![doc = include_str!("../README.md")]

mod check;
mod document;
mod names;
mod object;
mod rows;
mod warnings;

pub use document::{Document, DocumentError};
pub use warnings::Warning;
