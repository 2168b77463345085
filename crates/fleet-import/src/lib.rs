#![doc = include_str!("../README.md")]

mod check;
mod document;
mod names;
mod object;
mod rows;

pub use document::{Document, DocumentError};
