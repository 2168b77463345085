//! What authd fetches from others: Google's keys
//!
//! Nothing is fetched before a proof needs it. [`Fetcher`] makes one bounded request;
//! [`KeyCache`] decides when one is worth making.

mod fetch;
mod freshness;
mod jwks;
mod network;
mod reach;

pub use fetch::{FetchError, Fetched, Fetcher};
pub use jwks::{KeyCache, KeyCounts, KeyFileError, KeyUrl, KeyUrlError};
pub use network::{Network, Stream, System};
pub use reach::Reach;
