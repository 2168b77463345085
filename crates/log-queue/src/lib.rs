#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod queue;

pub use queue::{Line, LogQueue};
