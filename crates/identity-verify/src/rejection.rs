use std::{collections::BTreeMap, fmt};

use crate::{Claims, Error, Reason, VerifiedInstance, error::cut};

/// Why a proof was refused, and what it says of the machine it is about
///
/// For logs, in which operators look for a refused machine, and not for answers. Everything
/// but the [`error`](Self::error) is text of the proof, cut to [`Error::MAX_ECHO`] bytes, and may
/// hold any character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    error: Error,
    is_genuine: bool,
    claimed: Claimed,
    /// Boxed, as results with a rejection would be large otherwise
    denied: Option<Box<Denied>>,
}

impl Rejection {
    pub(crate) fn new(failed: Failed, claimed: Claimed, denied: Option<Denied>) -> Self {
        let Failed { error, is_genuine } = failed;
        // A policy decides about genuine proofs only, and about algorithms before a proof is
        // verified.
        let is_decided = is_genuine || matches!(error, Error::AlgorithmNotAllowed { .. });
        let denied = denied.filter(|_| is_decided).map(Box::new);
        Self { error, is_genuine, claimed, denied }
    }

    /// Returns the same refusal with another error, for callers who know the cause better
    #[must_use]
    pub fn because(self, error: Error) -> Self {
        Self { error, ..self }
    }

    /// Why the proof was refused
    #[must_use]
    pub const fn error(&self) -> &Error {
        &self.error
    }

    /// The stable class of the error
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.error.reason()
    }

    /// Whether the cloud signed what [`claimed`](Self::claimed) has
    ///
    /// If not, it may be forged.
    #[must_use]
    pub const fn is_genuine(&self) -> bool {
        self.is_genuine
    }

    /// What the proof says of its machine
    #[must_use]
    pub const fn claimed(&self) -> &Claimed {
        &self.claimed
    }

    /// Which setting refused which value of a genuine proof
    ///
    /// Also of a proof that was not verified, if the setting refuses its kind of signature.
    #[must_use]
    pub fn denied(&self) -> Option<&Denied> {
        self.denied.as_deref()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Rejection {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        rejection.error
    }
}

/// What a proof says of its machine, each under the name that its cloud has for it
///
/// `instance_id`, and of AWS `account_id` and `region`, of Azure `subscription_id`, of
/// Google `project_id`, `zone`, `service_account` and `created` in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    fields: BTreeMap<&'static str, String>,
}

impl Claimed {
    /// What a verified proof says of its machine
    pub(crate) fn of(instance: &VerifiedInstance) -> Self {
        let claimed = Self::default().with(INSTANCE_ID, Some(instance.id().as_str()));
        match instance.claims() {
            Claims::Aws(claims) => claimed
                .with("account_id", claims.account_id.as_deref())
                .with("region", Some(&claims.region)),
            Claims::Azure(claims) => {
                claimed.with("subscription_id", claims.subscription_id.as_deref())
            }
            Claims::Google(claims) => claimed
                .with("project_id", claims.project_id.as_deref())
                .with("zone", claims.zone.as_deref())
                .with("service_account", claims.service_account.as_deref()),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: Option<&str>) -> Self {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.fields.insert(name, cut(value, Error::MAX_ECHO));
        }
        self
    }

    /// The field of that name
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// The id of the instance
    #[must_use]
    pub fn instance_id(&self) -> Option<&str> {
        self.get(INSTANCE_ID)
    }

    /// Every field by its name
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'static str, &str)> {
        self.fields.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

pub(crate) const INSTANCE_ID: &str = "instance_id";

/// A value of a genuine proof that a setting does not allow
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    setting: &'static str,
    value: Option<String>,
}

impl Denied {
    pub(crate) fn new(setting: &'static str, value: Option<&str>) -> Self {
        Self { setting, value: value.map(|value| cut(value, Error::MAX_ECHO)) }
    }

    /// The field of the [`Policy`](crate::Policy) that refuses, or `require_nonce` for
    /// [`Challenge::demand`](crate::Challenge::demand), and `identity_pins` for
    /// [`VerifiedInstance::require_moment`]
    #[must_use]
    pub const fn setting(&self) -> &'static str {
        self.setting
    }

    /// The value that the setting refuses; `None` if the proof does not have one
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }
}

/// An error, and whether the cloud's signature was found good before it
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: Error,
    pub(crate) is_genuine: bool,
}

impl Failed {
    pub(crate) const fn genuine(error: Error) -> Self {
        Self { error, is_genuine: true }
    }

    /// The content of the proof, if what it says of its machine may be read for the log
    ///
    /// Of a proof that may be forged only if it is about as large as a real one: reading several KiB
    /// of JSON takes several times as long as verifying a signature.
    pub(crate) fn readable<'a>(&self, content: &'a [u8]) -> Option<&'a [u8]> {
        (self.is_genuine || content.len() <= MAX_UNVERIFIED).then_some(content)
    }
}

impl From<Error> for Rejection {
    /// A refusal of a proof of which nothing could be read
    fn from(error: Error) -> Self {
        Self::new(error.into(), Claimed::default(), None)
    }
}

impl<E: Into<Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self { error: error.into(), is_genuine: false }
    }
}

/// Real documents of AWS and Azure have some 500 bytes, and the claims of Google's tokens some 700
const MAX_UNVERIFIED: usize = 1 << 10;
