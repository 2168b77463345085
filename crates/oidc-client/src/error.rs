use std::error::Error;

use crate::url::UrlError;

/// The error of an implementation of [`Fetch`](crate::Fetch), as the source of a [`ProviderError`]
pub type Cause = Box<dyn Error + Send + Sync>;

/// Why a discovery document is refused
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// The URL of an endpoint is not usable
    #[error("the URL of `{endpoint}` is not usable")]
    Endpoint {
        /// The name of the field, such as `token_endpoint`
        endpoint: &'static str,
        /// Why
        #[source]
        source: UrlError,
    },
    /// The document names another issuer
    #[error("the document is of issuer `{found}`; set exactly the URL that the provider names")]
    Issuer {
        /// The issuer of the document, cut to 256 characters
        found: String,
    },
    /// The document is not one JSON object of at most 256 KiB
    #[error("the document is not a JSON object, or is too large")]
    Malformed,
    /// The document lacks a field
    #[error("`{field}` is missing, or is not a text")]
    Missing {
        /// The name of the field
        field: &'static str,
    },
    /// The provider authenticates clients in ways that this client does not know
    #[error("the token endpoint takes neither `client_secret_basic` nor `client_secret_post`")]
    NoAuthentication,
}

/// Why a key set is refused
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// Two keys for one algorithm have the same id
    #[error("two keys have the same id")]
    Duplicate,
    /// The set is not a JSON object with a list of keys, or is too large
    #[error("not a JSON Web Key Set, or too large")]
    Malformed,
    /// The set has no key for RS256, PS256, ES256 or EdDSA
    #[error("no key is for RS256, PS256, ES256 or EdDSA")]
    NoKey,
    /// The set has more keys than [`KeySet::MAX_KEYS`](crate::KeySet::MAX_KEYS)
    #[error("the set has more than 64 keys")]
    TooMany,
}

/// Why an ID token or a logout token is refused
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The token is signed with an algorithm other than RS256, PS256, ES256 and EdDSA, or not at
    /// all
    #[error("the algorithm is not RS256, PS256, ES256 or EdDSA")]
    Algorithm,
    /// The token is for another client, or for others too
    #[error("the token is not for this client alone")]
    Audience,
    /// The token was issued to another client
    #[error("the token was issued to another client")]
    AuthorizedParty,
    /// The token has ended
    #[error("the token has expired")]
    Expired,
    /// The token is of another issuer
    #[error("the token is of another issuer")]
    Issuer,
    /// The token, or one of its claims, is not what its format demands
    #[error("{0}")]
    Malformed(&'static str),
    /// A claim is missing, or has the wrong type
    #[error("the claim `{claim}` is missing, or has the wrong type")]
    Missing {
        /// The name of the claim
        claim: &'static str,
    },
    /// The ID token was not made for the sign-in that this browser began
    #[error("the nonce is not that of this sign-in")]
    Nonce,
    /// The token counts from a later time
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The claim `events` does not say that it is a logout token, or the token has a nonce
    #[error("not a logout token")]
    NotLogout,
    /// The signature is not that of the key
    #[error("the signature is wrong")]
    Signature,
    /// The token was issued too long ago
    #[error("the token was issued too long ago")]
    TooOld,
    /// The access token is not the one that the ID token was issued with
    #[error("`at_hash` is not that of the access token")]
    AccessToken,
    /// The provider has no key of this id
    #[error("no key of the provider has the id that the token names")]
    UnknownKey,
}

impl TokenError {
    /// The stable name of the error, for logs and audits
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::AccessToken => "wrong_access_token",
            Self::Algorithm => "algorithm_not_allowed",
            Self::Audience => "wrong_audience",
            Self::AuthorizedParty => "wrong_client",
            Self::Expired => "expired",
            Self::Issuer => "wrong_issuer",
            Self::Malformed(_) => "malformed_token",
            Self::Missing { .. } => "missing_claim",
            Self::Nonce => "wrong_nonce",
            Self::NotLogout => "not_a_logout_token",
            Self::NotYetValid => "not_yet_valid",
            Self::Signature => "bad_signature",
            Self::TooOld => "too_old",
            Self::UnknownKey => "unknown_key",
        }
    }
}

/// Why a provider could not be asked, or has not signed a user in
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// Nothing was fetched from an endpoint
    #[error("the {what} cannot be fetched")]
    Fetch {
        /// Such as `discovery document`
        what: &'static str,
        /// Why
        #[source]
        source: Cause,
    },
    /// An answer of the token or userinfo endpoint is not what OpenID Connect says
    #[error("the {what} is malformed")]
    Answer {
        /// Such as `answer of the token endpoint`
        what: &'static str,
    },
    /// The key set is refused
    #[error("the keys of the provider are not usable")]
    Keys(#[from] KeysError),
    /// The discovery document is refused
    #[error("the discovery document of the provider is not usable")]
    Metadata(#[from] MetadataError),
    /// A token is refused
    #[error("the token is refused")]
    Token(#[from] TokenError),
    /// The last fetch failed a moment ago, and the next one is not made yet
    #[error("the provider could not be reached a moment ago")]
    TriedBefore,
    /// The userinfo is that of another user than the ID token
    #[error("the userinfo is of another user")]
    OtherUser,
}

impl ProviderError {
    /// What [`Fetch`](Self::Fetch) and [`Answer`](Self::Answer) call the exchange of a code
    pub const TOKENS: &str = "answer of the token endpoint";

    /// Whether the provider, or the way to it, is at fault, so that a later try may work
    #[must_use]
    pub const fn is_of_provider(&self) -> bool {
        !matches!(self, Self::Token(_) | Self::OtherUser)
    }

    /// The stable name of the error, for logs and audits
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Token(error) => error.class(),
            Self::OtherUser => "wrong_user",
            _ => "provider_unavailable",
        }
    }
}
