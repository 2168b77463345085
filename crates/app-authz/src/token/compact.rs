#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use std::sync::LazyLock;

use base64::Engine;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use base64::engine::{Simd, general_purpose::NO_PAD};
use serde::Deserialize;
use thiserror::Error as ThisError;

use crate::app::RequestError;

/// Why a token is not accepted
///
/// For logs and tests. Tell a client only that it is not signed in.
#[derive(Clone, Debug, ThisError, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenError {
    /// The token is longer than any that this crate issues
    #[error("the token is too long")]
    Oversize,
    /// The token does not have the compact form, or its header has other fields than ours
    #[error("the token is malformed")]
    Malformed,
    /// The token names another algorithm than that of the key ring
    #[error("the token names another algorithm")]
    Algorithm,
    /// The key ring has no key with that sequence, or it is no longer good
    #[error("there is no key `{0}` to verify the token with")]
    UnknownKey(i32),
    /// The signature or the seal is wrong
    #[error("the token is not authentic")]
    Forged,
    /// The token is authentic, but its claims are not those of this kind of token
    #[error("the claims of the token are not valid")]
    Claims,
    /// The token has expired
    #[error("the token expired at {exp}")]
    Expired {
        /// The expiry, in seconds since 1970
        exp: u64,
    },
    /// The token is not valid yet
    #[error("the token is not valid before {nbf}")]
    NotYetValid {
        /// The start of validity, in seconds since 1970
        nbf: u64,
    },
    /// The token claims to have been issued later than now
    #[error("the token was issued in the future, at {iat}")]
    IssuedInFuture {
        /// The time of issue, in seconds since 1970
        iat: u64,
    },
    /// The token has another issuer
    #[error("the token is of another issuer")]
    Issuer,
    /// The token is for another audience
    #[error("the token is for another audience")]
    Audience,
    /// The request in the token breaks a rule
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// The parts of a compact token, not decoded
///
/// The length of the token is checked first.
pub(super) fn parts<const N: usize>(token: &str) -> Result<[&str; N], TokenError> {
    if token.len() > MAX_TOKEN_LEN {
        return Err(TokenError::Oversize);
    }
    let mut rest = token.split('.');
    let mut parts = [""; N];
    for part in &mut parts {
        *part = rest.next().ok_or(TokenError::Malformed)?;
    }
    if rest.next().is_some() { Err(TokenError::Malformed) } else { Ok(parts) }
}

/// Decodes one part; no two texts decode to the same bytes
pub(super) fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    BASE64URL.decode(part).map_err(|_| TokenError::Malformed)
}

pub(super) fn encode(bytes: &[u8]) -> String {
    BASE64URL.encode(bytes)
}

pub(super) fn encode_to(bytes: &[u8], text: &mut String) {
    BASE64URL.encode_string(bytes, text);
}

/// Parses the header of a token, which must have exactly the fields of `H`, each once
///
/// So a header cannot have `crit`, a key, or a URL to fetch one from.
pub(super) fn header<'a, H: Deserialize<'a>>(bytes: &'a [u8]) -> Result<H, TokenError> {
    serde_json::from_slice(bytes).map_err(|_| TokenError::Malformed)
}

/// Parses the sequence of a key: a decimal number without sign `+` or leading zeros
pub(super) fn key_id(text: &str) -> Result<i32, TokenError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_only_form = text == "0" || digits.starts_with(|first: char| matches!(first, '1'..='9'));
    let sequence = text.parse().map_err(|_| TokenError::Malformed)?;
    if is_only_form { Ok(sequence) } else { Err(TokenError::Malformed) }
}

/// With SIMD where the crate has it, since an app token has hundreds of digits
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
static BASE64URL: LazyLock<Simd> = LazyLock::new(|| Simd::url_safe(NO_PAD));
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

/// Twice the size that browsers keep of one cookie
const MAX_TOKEN_LEN: usize = 8 * 1024;
