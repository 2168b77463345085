use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use form_urlencoded::{Serializer, parse};
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq as _;

use crate::client::Client;
use crate::metadata::Metadata;

/// One sign-in of one browser, between the request and the answer
///
/// It has a state, which the answer has to repeat, a nonce, which the ID token has to repeat, and
/// the secret of PKCE (RFC 7636), without which the code is worth nothing. The caller keeps it with
/// the browser, as the text that [`reveal`](Self::reveal) returns, where no script and no other
/// browser can read it, for some minutes.
///
/// `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct Flow {
    state: String,
    nonce: String,
    verifier: String,
}

impl Flow {
    /// Makes a flow with the bytes that `fill` writes, which must be random
    #[must_use]
    pub fn generate(fill: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut text = || {
            let mut bytes = [0; BYTES];
            fill(&mut bytes);
            URL_SAFE_NO_PAD.encode(bytes)
        };
        Self { state: text(), nonce: text(), verifier: text() }
    }

    /// The flow as a text to keep: base64url and dots, 131 bytes
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{}.{}.{}", self.state, self.nonce, self.verifier)
    }

    /// Whether an answer repeats the state
    #[must_use]
    pub fn has_state(&self, state: &str) -> bool {
        same(&self.state, state)
    }

    pub(crate) fn nonce(&self) -> &str {
        &self.nonce
    }

    pub(crate) fn verifier(&self) -> &str {
        &self.verifier
    }

    /// The address to which the browser is sent (OpenID Connect Core 1.0, section 3.1.2.1)
    pub(crate) fn url(&self, client: &Client, metadata: &Metadata) -> String {
        let challenge = digest(&SHA256, self.verifier.as_bytes());
        let query = Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &client.id)
            .append_pair("redirect_uri", &client.redirect_uri)
            .append_pair("scope", &client.scope())
            .append_pair("state", &self.state)
            .append_pair("nonce", &self.nonce)
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(challenge))
            .append_pair("code_challenge_method", "S256")
            .finish();
        with_query(&metadata.authorization_endpoint, &query)
    }
}

impl FromStr for Flow {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.').map(|part| {
            let is_good = URL_SAFE_NO_PAD.decode(part).is_ok_and(|bytes| bytes.len() == BYTES);
            is_good.then(|| part.to_owned()).ok_or(())
        });
        let mut next = || parts.next().unwrap_or(Err(()));
        let flow = Self { state: next()?, nonce: next()?, verifier: next()? };
        match parts.next() {
            None => Ok(flow),
            Some(_) => Err(()),
        }
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flow(..)")
    }
}

/// The query with which a browser returns from the provider; not verified
///
/// `Debug` does not print the code.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Callback {
    state: String,
    code: String,
    issuer: Option<String>,
    error: Option<String>,
}

impl Callback {
    /// Reads a query (RFC 6749, section 4.1.2)
    ///
    /// `None` if it has neither a code nor an error, or one of its parameters twice.
    #[must_use]
    pub fn parse(query: &str) -> Option<Self> {
        let mut callback = Self::default();
        let (mut code, mut state) = (None, None);
        for (name, value) in parse(query.as_bytes()) {
            let field = match &*name {
                "code" => &mut code,
                "state" => &mut state,
                "iss" => &mut callback.issuer,
                "error" => &mut callback.error,
                _ => continue,
            };
            if field.replace(value.into_owned()).is_some() {
                return None;
            }
        }
        if code.is_none() && callback.error.is_none() {
            return None;
        }
        callback.code = code.unwrap_or_default();
        callback.state = state.unwrap_or_default();
        Some(callback)
    }

    /// Returns the code, if the answer belongs to `flow` and to this provider
    pub(crate) fn code(
        &self,
        flow: &Flow,
        client: &Client,
        metadata: &Metadata,
    ) -> Result<&str, Refused> {
        if !flow.has_state(&self.state) {
            return Err(Refused::OtherFlow);
        }
        let is_needed = metadata.names_issuer;
        let is_own = |issuer: &String| issuer == client.issuer.as_str();
        if !self.issuer.as_ref().map_or(!is_needed, is_own) {
            return Err(Refused::OtherIssuer);
        }
        if let Some(error) = &self.error {
            // Only the error codes of the standards: the text comes through the browser.
            let is_code = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            let code = Some(error).filter(|text| text.len() <= 64 && text.bytes().all(is_code));
            return Err(Refused::ByProvider { error: code.cloned().unwrap_or_default() });
        }
        match self.code.len() {
            1..=MAX_CODE => Ok(&self.code),
            _ => Err(Refused::NoCode),
        }
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").field("error", &self.error).finish_non_exhaustive()
    }
}

/// Why an answer that a browser brings from the provider is refused
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The provider has not signed the user in
    #[error("the provider answered with the error `{error}`")]
    ByProvider {
        /// The error code, such as `access_denied`; empty if it is not one
        error: String,
    },
    /// The answer has no code, or one of more than 4,096 bytes
    #[error("the answer has no code")]
    NoCode,
    /// The state is not that of this browser's flow
    #[error("the state is not that of this browser")]
    OtherFlow,
    /// The answer is of another provider (RFC 9207)
    #[error("the answer is of another issuer")]
    OtherIssuer,
}

impl Refused {
    /// The stable name of the error, for logs and audits
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::ByProvider { .. } => "refused_by_provider",
            Self::NoCode => "no_code",
            Self::OtherFlow => "wrong_state",
            Self::OtherIssuer => "wrong_issuer",
        }
    }
}

/// Appends parameters to a URL that may have some
pub(crate) fn with_query(url: &str, query: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{query}")
}

/// Compares texts in a time that does not depend on their content
pub(crate) fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// Of state, nonce and verifier each: more than RFC 7636 asks for, in the 43 characters that it
/// demands at least
const BYTES: usize = 32;

const MAX_CODE: usize = 4_096;
