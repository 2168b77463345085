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
        Self::is_unavailable(self)
    }

    fn unfit(&self) -> Option<String> {
        Self::unfit(self)
    }
}

/// The errors of ports that are chosen while the program runs, such as `Arc<dyn DynDirectory>`
///
/// Whether the port was unavailable is known if the error inside is a [`store::Error`] or an
/// [`ErasedPortError`], and of a journal of `app-audit`. Any other counts as a fault: an error type
/// of your own is made one of these by `ErasedPortError::from`.
macro_rules! erased {
    ($($error:ty: $inner:ident, $is_unavailable:expr;)+) => {$(
        impl PortError for $error {
            fn is_unavailable(&self) -> bool {
                $is_unavailable(self) || facts_of(self.$inner()).0
            }

            fn unfit(&self) -> Option<String> {
                facts_of(self.$inner()).1
            }
        }
    )+};
}

erased! {
    agent_auth::ErasedError: get_ref, |_: &Self| false;
    app_audit::ErasedError: get_ref, Self::is_unavailable;
    app_authz::Cause: get, |_: &Self| false;
}

/// Whether an error says that its port is unavailable, and what the tables lack
fn facts_of(error: &(dyn StdError + Send + Sync + 'static)) -> (bool, Option<String>) {
    if let Some(error) = error.downcast_ref::<store::Error>() {
        return (error.is_unavailable(), error.unfit());
    }
    match error.downcast_ref::<ErasedPortError>() {
        Some(error) => (error.is_unavailable, error.unfit.clone()),
        None => (false, None),
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

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("of the host")]
    struct Own(bool);

    impl PortError for Own {
        fn is_unavailable(&self) -> bool {
            self.0
        }
    }

    #[test]
    fn what_a_hidden_error_says_about_its_port_is_still_known() {
        let away = || store::Error::Unavailable { reason: "away".to_owned().into() };
        let wrong = || store::Error::ControlPlane { changes: "a row".to_owned() };
        let own = |is_unavailable| ErasedPortError::from(Own(is_unavailable));
        for (error, expected) in [
            (app_authz::Cause::new(away()), true),
            (app_authz::Cause::new(wrong()), false),
            (app_authz::Cause::new(own(true)), true),
            (app_authz::Cause::new(own(false)), false),
            (app_authz::Cause::new(Own(true)), false),
            (app_authz::Cause::new(io::Error::other("x")), false),
        ] {
            assert_eq!(error.is_unavailable(), expected, "{error}");
            assert_eq!(ErasedPortError::from(error).is_unavailable(), expected);
        }
        for (error, expected) in [
            (agent_auth::ErasedError::new(away()), true),
            (agent_auth::ErasedError::new(own(true)), true),
            (agent_auth::ErasedError::new(wrong()), false),
        ] {
            assert_eq!(PortError::is_unavailable(&error), expected, "{error}");
        }
        for (error, expected) in [
            (app_audit::ErasedError::new(Own(false), true), true),
            (app_audit::ErasedError::new(away(), false), true),
            (app_audit::ErasedError::new(own(false), false), false),
        ] {
            assert_eq!(PortError::is_unavailable(&error), expected, "{error}");
        }
    }
}
