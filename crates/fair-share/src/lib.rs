#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod allowance;
mod source;
mod turns;

pub use allowance::Allowance;
pub use source::Source;
pub use turns::{Busy, Turn, TurnSettings, Turns};
