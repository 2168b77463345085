#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod account;
mod binaries;
mod ephemeral;
mod error;
mod folder;
mod persistent;
mod postmaster;
mod settings;

pub use crate::ephemeral::Ephemeral;
pub use crate::error::Error;
pub use crate::persistent::Persistent;
pub use crate::settings::Settings;
