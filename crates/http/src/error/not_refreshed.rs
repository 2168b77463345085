use thiserror::Error;

/// Why it is not known whether a session is still good
#[derive(Clone, Debug, Error)]
pub(crate) enum NotRefreshed {
    /// The provider, or the database, could not be asked
    #[error("the token of the identity provider cannot be refreshed: {0}")]
    Failed(String),
    /// A try a moment ago has failed
    #[error("the token of the identity provider could not be refreshed a moment ago")]
    TriedBefore,
    /// Too many refreshes are under way, or waited for
    #[error("too many tokens of identity providers are being refreshed")]
    Busy,
    /// The refresh takes longer than a request waits
    #[error("the token of the identity provider is still being refreshed")]
    TooSlow,
}
