#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod folder;

pub use folder::{IdleFile, Trust, TrustError};
