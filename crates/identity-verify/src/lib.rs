#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod aws;
pub mod azure;
pub mod google;
#[cfg(feature = "test-util")]
pub mod test_util;

mod asn1;
mod base64;
mod cause;
mod challenge;
mod cms;
mod error;
mod fingerprint;
mod instance;
mod json;
mod pem;
mod pins;
mod policy;
mod policy_builder;
mod policy_warning;
mod rejection;
mod rsa;
mod stored_id;
mod time;
mod x509;

pub use cause::Cause;
pub use challenge::{Challenge, ChallengeKey};
pub use error::{Error, Reason};
pub use fingerprint::Fingerprint;
pub use instance::{Claims, Cloud, InstanceId, ParseCloudError, VerifiedInstance};
pub use pins::{DynPins, MemoryPins, PinRule, Pins, PinsUnavailable, Sighting};
pub use policy::{Audience, Policy};
pub use policy_warning::PolicyWarning;
pub use rejection::{Claimed, Denied, Rejection};
pub use stored_id::ImpossibleId;
