#![doc = include_str!("../README.md")]

mod folder;

pub use folder::{IdleFile, Trust, TrustError};
