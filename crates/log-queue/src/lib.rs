#![doc = include_str!("../README.md")]

mod queue;

pub use queue::{Line, LogQueue};
