use std::error::Error as StdError;
use std::sync::Arc;

use thiserror::Error;

use crate::address::UrlError;
use crate::app::RequestError;
use crate::rbac::MAX_ALLOW_ENTRIES;
use crate::token::TokenError;

/// Why an input does not parse, or why keys could not be used
///
/// A decision that says no is not an error here: see [`Denial`](crate::Denial).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The host belongs neither to a proxy nor to an app of this deployment
    #[error("`{0}` is not a host of this deployment")]
    ForeignHost(String),
    /// The text is not a decision case
    #[error("not a decision case")]
    InvalidCase(#[source] Cause),
    /// Not `TYPE:ID` with a known type or `*`, and a UUID or `*`
    #[error("`{0}` is not an allow-list entry")]
    InvalidAllowEntry(String),
    /// The first label of the host is not the name of an app
    #[error("`{0}` is not the name of an app")]
    InvalidAppName(String),
    /// The path leads to neither an app nor a terminal
    #[error("not the path of an app")]
    InvalidAppPath,
    /// Not a UUID in its hyphenated form
    #[error("`{0}` is not an id")]
    InvalidId(String),
    /// Not a pattern of hosts: one `*` at the start, followed by a domain
    #[error("`{0}` is not a wildcard host name")]
    InvalidHostPattern(String),
    /// Not `TYPE:ACTION` with an optional `!`
    #[error("`{0}` is not a permission")]
    InvalidPermission(String),
    /// Not a port number, optionally followed by `s`
    #[error("`{0}` is not a port")]
    InvalidPort(String),
    /// Not a JWK set of public keys, or one with a broken key
    #[error("not a valid set of keys")]
    InvalidJwks,
    /// The app request breaks a rule
    #[error(transparent)]
    InvalidRequest(#[from] RequestError),
    /// Not `NAME` or `NAME:ORGANIZATION-ID`
    #[error("`{0}` is not a role name")]
    InvalidRoleName(String),
    /// The key does not have the length that its feature requires, or is not hexadecimal
    #[error("a key is not valid")]
    InvalidSecret,
    /// Not `ID:SECRET`; the text is not repeated, as it may be another secret
    #[error("not a proxy's token")]
    InvalidProxyToken,
    /// Not `ID-SECRET`; the text is not repeated, as it may be another secret
    #[error("not a session token")]
    InvalidSessionToken,
    /// The token is not accepted
    #[error(transparent)]
    InvalidToken(#[from] TokenError),
    /// Not a URL that is safe to send a browser to
    #[error(transparent)]
    InvalidUrl(#[from] UrlError),
    /// An app needs a host of its own, and the deployment has no pattern of app hosts
    #[error("there is no wildcard host name for apps")]
    NoAppHosts,
    /// The keys could not be fetched
    #[error("the keys are unavailable")]
    KeysUnavailable(#[source] Cause),
    /// No key may sign at this time
    #[error("no key may sign now")]
    NoSigningKey,
    /// A credential without a scope
    #[error("a credential needs at least one scope")]
    NoScope,
    /// Signing or sealing failed, for example because memory or entropy ran out
    #[error("signing failed")]
    SigningFailed,
    /// More allow-list entries than a credential may have
    #[error("an allow list has at most {MAX_ALLOW_ENTRIES} entries")]
    TooManyAllowEntries,
    /// Not a label of [`CorsBehavior`](crate::app::CorsBehavior)
    #[error("`{0}` is not a cors behavior")]
    UnknownCorsBehavior(String),
    /// Not a label of [`Feature`](crate::token::Feature)
    #[error("`{0}` is not a feature of keys")]
    UnknownFeature(String),
    /// Not a label of [`JobKind`](crate::jobs::JobKind)
    #[error("`{0}` is not a type of provisioner job")]
    UnknownJobKind(String),
    /// Not a label of [`LoginType`](crate::credential::LoginType)
    #[error("`{0}` is not a login type")]
    UnknownLoginType(String),
    /// Not a value of [`SameSite`](crate::credential::SameSite)
    #[error("`{0}` is not one of lax, none")]
    UnknownSameSite(String),
    /// Not a label of [`SharingLevel`](crate::app::SharingLevel)
    #[error("`{0}` is not a sharing level")]
    UnknownSharingLevel(String),
    /// Not the name of a scope
    #[error("`{0}` is not a scope")]
    UnknownScope(String),
    /// Not a label of [`Transition`](crate::app::Transition)
    #[error("`{0}` is not a transition")]
    UnknownTransition(String),
    /// Not a label of [`UserStatus`](crate::credential::UserStatus)
    #[error("`{0}` is not a user status")]
    UnknownUserStatus(String),
}

/// The error of a store or of a parser that is the source of an [`enum@Error`]
///
/// Shared, so that errors can be cloned. Two causes are equal only if one is a clone of the
/// other.
#[derive(Clone, Debug, Error)]
#[error(transparent)]
pub struct Cause(Arc<dyn StdError + Send + Sync>);

impl Cause {
    /// Wraps the error
    #[must_use]
    pub fn new(error: impl StdError + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }

    /// The wrapped error, to downcast
    #[must_use]
    pub fn get(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.0
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Cause {}
