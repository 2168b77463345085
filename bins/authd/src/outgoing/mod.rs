//! What authd fetches from others: Google's keys, and certificates of Azure's issuers
//!
//! Nothing is fetched before a proof needs it. [`Fetcher`] makes one bounded request;
//! [`KeyCache`] and [`IssuerFetcher`] decide when one is worth making.

mod fetch;
mod freshness;
mod issuers;
mod jwks;
mod network;
mod reach;

pub use fetch::{FetchError, Fetched, Fetcher};
pub use issuers::{IssuerCounts, IssuerFetcher};
pub use jwks::{KeyCache, KeyCounts, KeyUrl, KeyUrlError};
pub use network::{Network, Stream, System};
pub use reach::Reach;
