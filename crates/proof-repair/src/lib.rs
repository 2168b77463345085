#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod captured;
mod repair;
mod variants;

pub use captured::CapturedProof;
pub use repair::Repair;
pub use variants::is_pkcs7;
