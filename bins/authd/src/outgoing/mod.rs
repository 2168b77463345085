//! What authd fetches from others
//!
//! [`Fetcher`] makes one bounded request.

mod fetch;
mod freshness;
mod network;
mod reach;

pub use fetch::{FetchError, Fetched, Fetcher};
pub use network::{Network, Stream, System};
pub use reach::Reach;
