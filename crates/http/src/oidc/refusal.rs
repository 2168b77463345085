use app_authz::UserId;
use http::StatusCode;
use identity_fetch::FetchError;
use oidc_client::{ProviderError, Refused};
use store::provider::SignInRefusal;

use crate::error::{AccessError, chain};

/// Why a browser that returns from a provider is not signed in
#[derive(Debug)]
pub(crate) enum OidcError {
    /// The person is told to do something else
    Refused(OidcRefusal),
    /// The provider does not answer, or not as it should; the cause is for the log
    Unavailable { cause: String },
    /// This server is at fault
    Failed(AccessError),
}

/// A refusal, in the visitor's words
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OidcRefusal {
    /// The stable name, for the log and the audit
    pub(crate) class: &'static str,
    /// What the page says
    pub(crate) words: &'static str,
    /// The user, if it is known
    pub(crate) user: Option<UserId>,
    /// For the log
    pub(crate) cause: Option<String>,
}

impl OidcRefusal {
    pub(super) const NO_EMAIL: Self = Self::new(
        "no_email",
        "Your account at the provider has no e-mail address. Add one there, then sign in again.",
    );
    pub(super) const EMAIL_NOT_VERIFIED: Self = Self::new(
        "email_not_verified",
        "Your e-mail address is not verified at the provider. Verify it there, then sign in again.",
    );
    pub(super) const EMAIL_DOMAIN: Self = Self::new(
        "email_domain",
        "Accounts of your e-mail domain may not sign in here. Use another account, or ask an \
         administrator.",
    );
    pub(super) const OTHER_BROWSER: Self = Self::new(
        "wrong_state",
        "This sign-in was not begun in this browser, or it took longer than ten minutes. Sign in \
         again.",
    );
    pub(super) const REPLAYED: Self =
        Self::new("replayed", "This sign-in has already been used. Sign in again.");

    const fn new(class: &'static str, words: &'static str) -> Self {
        Self { class, words, user: None, cause: None }
    }
}

impl From<OidcRefusal> for OidcError {
    fn from(refusal: OidcRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Refused> for OidcError {
    fn from(refused: Refused) -> Self {
        let words = match &refused {
            Refused::ByProvider { .. } => {
                "The provider has not signed you in. Try again, or ask an administrator."
            }
            _ => OidcRefusal::OTHER_BROWSER.words,
        };
        let refusal = OidcRefusal::new(refused.class(), words);
        Self::Refused(OidcRefusal { cause: Some(refused.to_string()), ..refusal })
    }
}

impl From<ProviderError> for OidcError {
    fn from(error: ProviderError) -> Self {
        let cause = chain(&error);
        if is_refused_code(&error) {
            let refusal = OidcRefusal::new(
                "code_refused",
                "The provider has not accepted this sign-in: it took too long, or was used before. \
                 Sign in again.",
            );
            return Self::Refused(OidcRefusal { cause: Some(cause), ..refusal });
        }
        if error.is_of_provider() {
            return Self::Unavailable { cause };
        }
        let refusal = OidcRefusal::new(
            error.class(),
            "The answer of the provider is not valid. Sign in again. If that does not help, ask an \
             administrator.",
        );
        Self::Refused(OidcRefusal { cause: Some(cause), ..refusal })
    }
}

/// Whether the token endpoint says that the request is at fault, which can be that of a stranger
/// (RFC 6749, section 5.2); a client that it does not know gets another status
fn is_refused_code(error: &ProviderError) -> bool {
    let ProviderError::Fetch { what, source } = error else { return false };
    let status = source.downcast_ref::<FetchError>();
    *what == ProviderError::TOKENS
        && matches!(status, Some(FetchError::Status(StatusCode::BAD_REQUEST)))
}

impl From<SignInRefusal> for OidcError {
    fn from(refusal: SignInRefusal) -> Self {
        let (user, words) = match refusal {
            SignInRefusal::Suspended(user) => (
                Some(user),
                "Your account is suspended. Ask an administrator to activate it again.",
            ),
            SignInRefusal::OtherUser => (
                None,
                "Another account here has your e-mail address, and signs in in another way. Ask an \
                 administrator.",
            ),
            _ => (None, "You have no account here yet. Ask an administrator for one."),
        };
        let class = refusal.as_str();
        Self::Refused(OidcRefusal { user, ..OidcRefusal::new(class, words) })
    }
}

impl From<store::Error> for OidcError {
    fn from(error: store::Error) -> Self {
        Self::Failed(AccessError::store(error))
    }
}
