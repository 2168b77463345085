//! Signed app tokens: how a decision is proven later, without asking again
//!
//! A [`Permit`](crate::Permit) becomes a token that is good for [`TOKEN_LIFETIME`]. It
//! names the request, what it led to, and for whom it was issued: whoever bears it may
//! open that one app. Verifying one costs no query. A session revoked meanwhile still opens
//! the app until the token ends, at most [`TOKEN_LIFETIME`] and [`LEEWAY`] later.
//!
//! Tokens are signed under HMAC ([`Hs512Key`]), as the control plane does, or under EdDSA
//! ([`EddsaKey`]), so that proxies verify with public keys alone. A ring knows one of the
//! two: what a token says of its algorithm is compared, never followed.
//!
//! Keys come from a table that replicas share, rotate by [`rotate`], and are held in a
//! [`KeyCache`]. Beside the tokens, a session token can be sealed for an app's own host,
//! to which the dashboard's cookies do not reach.

mod algorithm;
mod cache;
mod claims;
mod compact;
mod eddsa;
mod keys;
mod rebase;
mod recent;
mod rotation;
mod sealed_session;
mod sign;
mod verify;

pub use algorithm::{Hs512Key, SigningKey, VerifyingKey};
pub use cache::{Fetch, KeyCache, KeyStore, MISS_INTERVAL, REFRESH_INTERVAL, Want};
pub use claims::LEEWAY;
pub use compact::TokenError;
pub use eddsa::{EddsaKey, EddsaPublicKey};
pub use keys::{CryptoKey, Feature, KeyMaterial, KeyRing, SealKey, Secret};
pub use rotation::{Change, Rotation, replace, rotate};
pub use sealed_session::{API_KEY_PARAMETER, without_api_key};
pub use sign::{SignedToken, TOKEN_LIFETIME};
pub use verify::{AppToken, Found, MAX_PRESENTED_TOKENS, PresentedTokens, SIGNED_TOKEN_PARAMETER};
