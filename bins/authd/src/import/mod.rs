//! A deployment written down, and the rows it stands for

mod check;
mod document;
mod names;
mod object;
mod rows;

pub(crate) use document::{Document, Invalid};
