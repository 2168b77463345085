//! App tokens: how a decision is proven later without another query
//!
//! A [`Permit`](crate::Permit) is signed as a token that is good for [`TOKEN_LIFETIME`] at most.
//! The token names the request, what it leads to and the visitor it was issued to. Its bearer may
//! open that one app. Verifying a token needs no query, so a session that is revoked in the
//! meantime still opens the app until the token expires, at most [`TOKEN_LIFETIME`] plus
//! [`LEEWAY`] later. A caller that wants to stop it earlier looks up
//! [the session](AppToken::session) that the token names.
//!
//! Tokens are signed with HMAC ([`Hs512Key`]), as the control plane does, or with EdDSA
//! ([`EddsaKey`]), so that proxies verify with public keys only. A key ring accepts one of the
//! two: the algorithm in a token is compared with it and never selects one.
//!
//! Keys are rows of a table that replicas share. [`rotate`] plans their rotation, and a
//! [`KeyCache`] holds them. With the feature `seal` the module also seals session tokens
//! (`KeyRing::seal`) for an app's own host, which the dashboard's cookies do not reach.

mod algorithm;
mod cache;
mod claims;
mod compact;
mod eddsa;
mod keys;
mod nonce_key;
mod rebase;
mod recent;
mod rotation;
#[cfg(feature = "seal")]
mod seal;
mod sealed_session;
mod seen;
mod sign;
mod verify;

pub use algorithm::{Hs512Key, SigningKey, VerifyingKey};
pub use cache::{DynKeyStore, Fetch, KeyCache, KeyStore, MISS_INTERVAL, REFRESH_INTERVAL, Want};
pub use claims::LEEWAY;
pub use compact::TokenError;
pub use eddsa::{EddsaKey, EddsaPublicKey};
pub use keys::{CryptoKey, Feature, KeyMaterial, KeyRing, Secret};
pub use nonce_key::NonceKey;
pub use rotation::{Change, DynRotation, Plan, Rotation, SequenceTaken, replace, rotate};
#[cfg(feature = "seal")]
pub use seal::SealKey;
pub use sealed_session::{
    API_KEY_PARAMETER, NONCE_PARAMETER, Nonce, SealedSession, without_api_key,
};
#[cfg(feature = "seal")]
pub use seen::OpenedSeals;
pub use seen::{MAX_RECENT_TEXTS, RecentTexts};
pub use sign::{SignedToken, TOKEN_LIFETIME, TokenOptions};
pub use verify::{AppToken, Found, MAX_PRESENTED_TOKENS, PresentedTokens, SIGNED_TOKEN_PARAMETER};
