#![doc = include_str!("../README.md")]

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
