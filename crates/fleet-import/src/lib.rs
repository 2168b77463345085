#![doc = include_str!("../README.md")]

mod check;
mod document;
mod malformed;
mod names;
mod object;
mod rows;

pub use document::{Document, DocumentError};
pub use malformed::{Malformed, from_toml};
