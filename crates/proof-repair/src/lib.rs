#![doc = include_str!("../README.md")]

mod captured;
mod repair;
mod variants;

pub use captured::CapturedProof;
pub use repair::Repair;
pub use variants::is_pkcs7;
