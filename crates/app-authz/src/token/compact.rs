use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use thiserror::Error as ThisError;

use crate::app::RequestError;

/// Why a token is not taken
///
/// For the log and for tests; a client learns no more than that it is not signed in.
#[derive(Clone, Debug, ThisError, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenError {
    /// Longer than any token of ours
    #[error("the token is too long")]
    Oversize,
    /// Not of the compact form, or its header is not one of ours
    #[error("the token is malformed")]
    Malformed,
    /// Another algorithm than the one there is
    #[error("the token is of another algorithm")]
    Algorithm,
    /// No key of that sequence, or none that is still good
    #[error("no key `{0}` to verify the token with")]
    UnknownKey(i32),
    /// Signature or seal is broken
    #[error("the token is not authentic")]
    Forged,
    /// Authentic, and yet its claims are not those of a token of ours
    #[error("the claims of the token are incomplete")]
    Claims,
    /// Its time is over
    #[error("the token has expired")]
    Expired,
    /// Its time has not come
    #[error("the token is not valid yet")]
    NotYetValid,
    /// It claims to have been issued later than now
    #[error("the token was issued in the future")]
    IssuedInFuture,
    /// Issued by somebody else
    #[error("the token is of another issuer")]
    Issuer,
    /// Issued for somebody else
    #[error("the token is for another audience")]
    Audience,
    /// The request in it is not sound
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// The parts of a compact token, still as text
///
/// Its length is bounded before anything is decoded.
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

/// Decodes one part; each text stands for other bytes than every other text
pub(super) fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)
}

pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn encode_to(bytes: &[u8], text: &mut String) {
    URL_SAFE_NO_PAD.encode_string(bytes, text);
}

/// Reads the header of a token: its fields are ours, each once, and no others
///
/// So there is no `crit`, no key in the header and no place to fetch one from.
pub(super) fn header<'a, H: Deserialize<'a>>(bytes: &'a [u8]) -> Result<H, TokenError> {
    serde_json::from_slice(bytes).map_err(|_| TokenError::Malformed)
}

/// Reads the sequence of a key: a decimal number in its only form
pub(super) fn key_id(text: &str) -> Result<i32, TokenError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_only_form = text == "0" || digits.starts_with(|first: char| matches!(first, '1'..='9'));
    let sequence = text.parse().map_err(|_| TokenError::Malformed)?;
    if is_only_form { Ok(sequence) } else { Err(TokenError::Malformed) }
}

/// Twice what a browser keeps in one cookie
const MAX_TOKEN_LEN: usize = 8 * 1024;
