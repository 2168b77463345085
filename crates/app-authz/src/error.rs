use thiserror::Error;

use crate::app::RequestError;
use crate::rbac::MAX_ALLOW_ENTRIES;
use crate::token::TokenError;

/// Why an input was not understood, or refused before any decision
///
/// That a subject may not do something is no error; see [`Denial`](crate::Denial).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A host that is neither a proxy's nor an app's
    #[error("`{0}` is not a host of this deployment")]
    ForeignHost(String),
    /// A decision case that is not of the format
    #[error("not a decision case: {0}")]
    InvalidCase(String),
    /// Not `TYPE:ID` with a known type or `*`, and a UUID or `*`
    #[error("`{0}` is not an allow-list entry")]
    InvalidAllowEntry(String),
    /// The first label of a host that names no app
    #[error("`{0}` is not the name of an app")]
    InvalidAppName(String),
    /// Not a pattern of hosts: one `*` at the start, and a domain behind
    #[error("`{0}` is not a wildcard host name")]
    InvalidHostPattern(String),
    /// Not `TYPE:ACTION` with an optional `!`
    #[error("`{0}` is not a permission")]
    InvalidPermission(String),
    /// Not a port
    #[error("`{0}` is not a port")]
    InvalidPort(String),
    /// Not a set of public keys, or one with a broken key
    #[error("not a valid set of keys")]
    InvalidJwks,
    /// An app request that is not sound in itself
    #[error(transparent)]
    InvalidRequest(#[from] RequestError),
    /// Not `NAME` or `NAME:ORGANIZATION-ID`
    #[error("`{0}` is not a role name")]
    InvalidRoleName(String),
    /// A key that is not of its feature's length, or not hexadecimal
    #[error("a key is not valid")]
    InvalidSecret,
    /// Not `ID:SECRET`; what it is instead may be a secret of somebody else's
    #[error("not a proxy's token")]
    InvalidProxyToken,
    /// Not `ID-SECRET`; what it is instead may be a secret of somebody else's
    #[error("not a session token")]
    InvalidSessionToken,
    /// A token that is not taken
    #[error(transparent)]
    InvalidToken(#[from] TokenError),
    /// Not a URL that is safe to send a browser to
    #[error("`{0}` is not a valid url")]
    InvalidUrl(String),
    /// An app wants a host of its own, and there are none
    #[error("there is no wildcard host name for apps")]
    NoAppHosts,
    /// The keys could not be fetched, for the reason given
    #[error("the keys are unavailable: {0}")]
    KeysUnavailable(String),
    /// No key may sign now
    #[error("no key may sign now")]
    NoSigningKey,
    /// A credential without any scope
    #[error("a credential needs at least one scope")]
    NoScope,
    /// Signing or sealing failed, as it does without memory or entropy
    #[error("signing failed")]
    SigningFailed,
    /// More allow-list entries than a credential may have
    #[error("an allow list has at most {MAX_ALLOW_ENTRIES} entries")]
    TooManyAllowEntries,
    /// An answer for sharing across origins that does not exist
    #[error("`{0}` is not a cors behavior")]
    UnknownCorsBehavior(String),
    /// A feature of keys that this version does not know
    #[error("`{0}` is not a feature of keys")]
    UnknownFeature(String),
    /// A type of provisioner job that does not exist
    #[error("`{0}` is not a type of provisioner job")]
    UnknownJobKind(String),
    /// A login type that does not exist
    #[error("`{0}` is not a login type")]
    UnknownLoginType(String),
    /// A sharing level that does not exist
    #[error("`{0}` is not a sharing level")]
    UnknownSharingLevel(String),
    /// A scope that does not exist
    #[error("`{0}` is not a scope")]
    UnknownScope(String),
    /// A transition of a build that does not exist
    #[error("`{0}` is not a transition")]
    UnknownTransition(String),
    /// A user status that does not exist
    #[error("`{0}` is not a user status")]
    UnknownUserStatus(String),
}
