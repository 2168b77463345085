use std::fmt;
use std::str::FromStr;

use super::TokenError;
use crate::Error;
use crate::credential::SessionToken;
use crate::percent::form_bytes;

/// A session on its way to an app's host
///
/// Opening one proves neither that the session is good, nor that it is for the host and the
/// browser at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SealedSession {
    /// The session token
    pub token: SessionToken,
    /// What the browser holds that the session is for; `None` if the seal does not say which
    pub nonce: Option<Nonce>,
    /// The host that the session is for, without a port; `None` if the seal does not say which
    pub host: Option<String>,
    /// Whether the session is for a program rather than a browser
    ///
    /// Set only if the request for it had a credential that no link and no page can make a browser
    /// send.
    pub is_for_program: bool,
}

impl SealedSession {
    /// The same session for the browser that holds this
    #[must_use]
    pub fn with_nonce(mut self, nonce: impl Into<Option<Nonce>>) -> Self {
        self.nonce = nonce.into();
        self
    }

    /// The same session for this host, which has no port
    #[must_use]
    pub fn with_host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// The same session, for a program or for a browser
    #[must_use]
    pub const fn with_program(mut self, is_for_program: bool) -> Self {
        self.is_for_program = is_for_program;
        self
    }

    /// Whether the session is for that host, which has no port
    #[must_use]
    pub fn is_for_host(&self, host: &str) -> bool {
        self.host.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(host))
    }
}

impl From<SessionToken> for SealedSession {
    /// The session, for no particular host or browser, as the control plane seals it
    fn from(token: SessionToken) -> Self {
        Self { token, nonce: None, host: None, is_for_program: false }
    }
}

/// A random value that a browser is given when it leaves an app's host to sign in, and shows when
/// it returns
///
/// A browser that returns without it does not keep the cookies of that host, or follows a link
/// that was made for another browser. It can be sent away once [`again`](Self::again).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce {
    digits: String,
    is_again: bool,
}

impl Nonce {
    /// Makes a nonce of 128 random bits; `fill` fills a slice with random bytes
    pub fn generate(fill: impl FnOnce(&mut [u8])) -> Self {
        let mut bytes = [0; 16];
        fill(&mut bytes);
        let digits = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { digits, is_again: false }
    }

    /// The same value, for a browser that has returned without one
    #[must_use]
    pub fn again(self) -> Self {
        Self { is_again: true, ..self }
    }

    /// Whether the browser had returned without a nonce before it was given this one
    #[must_use]
    pub const fn is_again(&self) -> bool {
        self.is_again
    }

    /// Whether the random values are equal
    #[must_use]
    pub fn has_value_of(&self, other: &Self) -> bool {
        self.digits == other.digits
    }
}

impl FromStr for Nonce {
    type Err = Error;

    /// Parses 32 lower-case hexadecimal digits, which `.again` may follow
    ///
    /// # Errors
    ///
    /// [`TokenError::Malformed`] for any other text.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (digits, is_again) = match text.strip_suffix(AGAIN) {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.len() != 32 || !digits.bytes().all(is_digit) {
            return Err(Error::InvalidToken(TokenError::Malformed));
        }
        Ok(Self { digits: digits.to_owned(), is_again })
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.digits)?;
        f.write_str(if self.is_again { AGAIN } else { "" })
    }
}

const AGAIN: &str = ".again";

/// Path and query of a request without the parameter [`API_KEY_PARAMETER`], as the address to
/// send its visitor to once the sealed session token has been opened
///
/// The path starts with exactly one slash, because browsers take `//host` and `/\host` for
/// another host. The other parameters stay as they were written.
#[must_use]
pub fn without_api_key(path: &str, query: &str) -> String {
    let is_other = |pair: &&str| {
        let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
        !form_bytes(name).eq(API_KEY_PARAMETER.bytes())
    };
    let query: Vec<&str> =
        query.split('&').filter(|pair| !pair.is_empty()).filter(is_other).collect();
    let path = path.trim_start_matches(['/', '\\']);
    if query.is_empty() { format!("/{path}") } else { format!("/{path}?{}", query.join("&")) }
}

/// The query parameter that carries a sealed session token to an app's host
pub const API_KEY_PARAMETER: &str = "coder_application_connect_api_key_35e783";

/// The query parameter that carries a [`Nonce`] to the dashboard
pub const NONCE_PARAMETER: &str = "authd_nonce";
