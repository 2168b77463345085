//! Signed app tokens: how a decision is proven later, without asking again
//!
//! A [`Permit`](crate::Permit) becomes a token that is good for [`TOKEN_LIFETIME`]. It
//! names the request and what it led to, not the visitor: whoever bears it may open
//! that one app. Verifying one costs no query. A session revoked meanwhile still opens
//! the app until the token ends, at most [`TOKEN_LIFETIME`] and [`LEEWAY`] later.
//!
//! Keys come from a table that replicas share, rotate by [`rotate`], and are held in a
//! [`KeyCache`]. Beside the tokens, a session token can be sealed for an app's own host,
//! to which the dashboard's cookies do not reach.

mod cache;
mod claims;
mod compact;
mod keys;
mod rotation;
mod sign;
mod smuggle;
mod verify;

pub use cache::{Fetch, KeyCache, KeyStore, MISS_INTERVAL, REFRESH_INTERVAL, Want};
pub use claims::LEEWAY;
pub use compact::TokenFault;
pub use keys::{AppTokenKey, CryptoKey, Feature, KeyMaterial, KeyRing, SealKey, Secret};
pub use rotation::{Change, rotate};
pub use sign::{SignedToken, TOKEN_LIFETIME};
pub use smuggle::{API_KEY_PARAMETER, without_api_key};
pub use verify::{AppToken, Candidates, Found, MAX_CANDIDATES, SIGNED_TOKEN_PARAMETER};
