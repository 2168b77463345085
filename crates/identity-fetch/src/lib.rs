#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod exchange;
mod fetch;
mod fields;
mod freshness;
mod identity;
mod issuers;
mod jwks;
mod network;
mod proxy;
mod reach;

use std::sync::Arc;
use std::time::SystemTime;

pub use exchange::FetchError;
pub use fetch::{Fetched, Fetcher};
pub use fields::MissingFields;
pub use identity::{Expiry, Identity, Online, Proof, WARNING_DAYS};
pub use issuers::{IssuerCounts, IssuerFetcher};
pub use jwks::{KeyCache, KeyCounts, KeyUrl, KeyUrlError};
pub use network::{Network, Stream, System};
pub use proxy::{Proxy, ProxyError};
pub use reach::Reach;
/// The TLS library whose [`ClientConfig`](rustls::ClientConfig) [`Fetcher::tls`] takes
pub use tokio_rustls::rustls;

/// Returns the current time: the system's clock in a server, any other in a test
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;
