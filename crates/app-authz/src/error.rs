use thiserror::Error;

use crate::RequestFault;
use crate::rbac::MAX_ALLOW_ENTRIES;

/// Why an input was not understood, or refused before any decision
///
/// That a subject may not do something is no error; see [`Denial`](crate::Denial).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A decision case that is not of the format
    #[error("not a decision case: {0}")]
    InvalidCase(String),
    /// Not `TYPE:ID` with a known type or `*`, and a UUID or `*`
    #[error("`{0}` is not an allow-list entry")]
    InvalidAllowEntry(String),
    /// Not `TYPE:ACTION` with an optional `!`
    #[error("`{0}` is not a permission")]
    InvalidPermission(String),
    /// An app request that is not sound in itself
    #[error(transparent)]
    InvalidRequest(#[from] RequestFault),
    /// Not `NAME` or `NAME:ORGANIZATION-ID`
    #[error("`{0}` is not a role name")]
    InvalidRoleName(String),
    /// A credential without any scope
    #[error("a credential needs at least one scope")]
    NoScope,
    /// More allow-list entries than a credential may have
    #[error("an allow list has at most {MAX_ALLOW_ENTRIES} entries")]
    TooManyAllowEntries,
    /// A sharing level that does not exist
    #[error("`{0}` is not a sharing level")]
    UnknownSharingLevel(String),
    /// A scope that does not exist
    #[error("`{0}` is not a scope")]
    UnknownScope(String),
}
