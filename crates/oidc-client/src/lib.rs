#![doc = include_str!("../README.md")]

mod claims;
mod client;
mod error;
mod fetch;
mod flow;
mod id_token;
mod json;
mod jwks;
mod jws;
mod logout;
mod metadata;
mod provider;
mod refresh;
mod token;
mod url;

pub use claims::Identity;
pub use client::{Client, ClientSecret};
pub use error::{Cause, KeysError, MetadataError, ProviderError, TokenError};
pub use fetch::{Fetch, Request};
pub use flow::{Callback, Flow, Refused};
pub use jwks::KeySet;
pub use logout::LogoutToken;
pub use metadata::Metadata;
pub use provider::Provider;
pub use refresh::{RefreshError, Refreshed, TokenEndpoint};
pub use token::Tokens;
pub use url::{EndpointUrl, Issuer, UrlError};
