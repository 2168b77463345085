#![doc = include_str!("../README.md")]

mod error;
mod fetch;
mod freshness;
mod identity;
mod issuers;
mod jwks;
mod network;
mod reach;

use std::sync::Arc;
use std::time::SystemTime;

pub use fetch::{FetchError, Fetched, Fetcher};
pub use identity::{Expiry, Identity, Online, Proof, WARNING_DAYS};
pub use issuers::{IssuerCounts, IssuerFetcher};
pub use jwks::{KeyCache, KeyCounts, KeyUrl, KeyUrlError};
pub use network::{Network, Stream, System};
pub use reach::Reach;

/// Returns the current time: the system's clock in a server, any other in a test
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;
