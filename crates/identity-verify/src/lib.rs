#![doc = include_str!("../README.md")]

pub mod aws;
#[cfg(feature = "test-util")]
pub mod test_util;

mod asn1;
mod base64;
mod error;
mod fingerprint;
mod instance;
mod json;
mod pem;
mod policy;
mod rsa;
mod time;

pub use error::{Error, Reason};
pub use fingerprint::Fingerprint;
pub use instance::{Claims, Cloud, InstanceId, VerifiedInstance};
pub use policy::Policy;
