use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;

/// Why a port did not answer, as far as it decides what a client is answered
///
/// Implement it for the error types of your ports.
///
/// ```
/// #[derive(Debug, thiserror::Error)]
/// #[error(transparent)]
/// struct DatabaseError(std::io::Error);
///
/// impl authd_http::PortError for DatabaseError {
///     fn is_unavailable(&self) -> bool {
///         // All but mistakes in a statement.
///         self.0.kind() != std::io::ErrorKind::InvalidData
///     }
/// }
/// ```
pub trait PortError: StdError + Send + Sync + 'static {
    /// Returns whether the same call may succeed later
    ///
    /// Clients are answered 503 then, so that they try again, and 500 otherwise.
    fn is_unavailable(&self) -> bool;

    /// Returns what the tables lack, if they answer and do not fit
    ///
    /// `/readyz` shows it to everyone, so it must not name hosts or contain values.
    fn unfit(&self) -> Option<String> {
        None
    }
}

impl PortError for Infallible {
    fn is_unavailable(&self) -> bool {
        match *self {}
    }
}

impl PortError for store::Error {
    fn is_unavailable(&self) -> bool {
        self.is_transient()
    }

    fn unfit(&self) -> Option<String> {
        Self::unfit(self)
    }
}

/// A [`PortError`] whose type is erased
///
/// `Display` and `source` are those of the error itself.
pub struct ErasedPortError {
    is_unavailable: bool,
    unfit: Option<String>,
    error: Box<dyn StdError + Send + Sync>,
}

impl ErasedPortError {
    /// Returns whether the same call may succeed later
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        self.is_unavailable
    }

    /// Returns what the tables lack, if they answer and do not fit
    #[must_use]
    pub fn unfit(&self) -> Option<&str> {
        self.unfit.as_deref()
    }

    /// Returns the error itself, to look for its type
    #[must_use]
    pub fn get_ref(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.error
    }
}

impl<E: PortError> From<E> for ErasedPortError {
    fn from(error: E) -> Self {
        Self {
            is_unavailable: error.is_unavailable(),
            unfit: error.unfit(),
            error: Box::new(error),
        }
    }
}

impl fmt::Display for ErasedPortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Debug for ErasedPortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl StdError for ErasedPortError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}
