#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod encode;
mod exporter;
mod sampler;
mod settings;

pub use exporter::Exporter;
pub use sampler::Sampler;
pub use settings::{Settings, SettingsError};
