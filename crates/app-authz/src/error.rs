use thiserror::Error;

use crate::RequestFault;
use crate::rbac::MAX_ALLOW_ENTRIES;

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
    /// An app request that is not sound in itself
    #[error(transparent)]
    InvalidRequest(#[from] RequestFault),
    /// Not `NAME` or `NAME:ORGANIZATION-ID`
    #[error("`{0}` is not a role name")]
    InvalidRoleName(String),
    /// Not `ID-SECRET`; what it is instead may be a secret of somebody else's
    #[error("not a session token")]
    InvalidSessionToken,
    /// Not a URL that is safe to send a browser to
    #[error("`{0}` is not a valid url")]
    InvalidUrl(String),
    /// An app wants a host of its own, and there are none
    #[error("there is no wildcard host name for apps")]
    NoAppHosts,
    /// A credential without any scope
    #[error("a credential needs at least one scope")]
    NoScope,
    /// More allow-list entries than a credential may have
    #[error("an allow list has at most {MAX_ALLOW_ENTRIES} entries")]
    TooManyAllowEntries,
    /// A login type that does not exist
    #[error("`{0}` is not a login type")]
    UnknownLoginType(String),
    /// A sharing level that does not exist
    #[error("`{0}` is not a sharing level")]
    UnknownSharingLevel(String),
    /// A scope that does not exist
    #[error("`{0}` is not a scope")]
    UnknownScope(String),
    /// A user status that does not exist
    #[error("`{0}` is not a user status")]
    UnknownUserStatus(String),
}
