use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};

use crate::{Error, azure};

/// What a deployment demands of a proof beyond a genuine signature
///
/// Field names are the names of the configuration; those of Google may also begin
/// with `gcp_`. Unknown ones are refused, so that a misspelt restriction is not silently
/// ignored. A list that is absent allows all; an empty list allows nothing.
///
/// ```
/// use identity_verify::Policy;
///
/// let read: Policy = serde_json::from_str(
///     r#"{"aws_allowed_accounts": ["123456789012"], "aws_max_document_age_seconds": 300}"#,
/// )?;
/// let built = Policy::default()
///     .aws_allowed_accounts(["123456789012"])
///     .aws_max_document_age_seconds(300);
/// assert_eq!(read, built);
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// What is serialized as JSON reads back as the same policy. The expected nonce is part of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Policy {
    /// How many seconds the cloud's clock and ours may differ, in either direction
    ///
    /// It applies to the times that a proof states about itself, and not to the dates of
    /// certificates.
    pub leeway_seconds: u64,

    /// The most seconds since the `pendingTime` of an AWS document
    ///
    /// `pendingTime` is the last start of the instance, so this limit also refuses
    /// machines that have been running for long. Without it the time is ignored, as in the
    /// reference.
    pub aws_max_document_age_seconds: Option<u64>,
    /// The AWS accounts whose instances are accepted, as twelve digits
    pub aws_allowed_accounts: Option<BTreeSet<String>>,
    /// The AWS regions whose instances are accepted
    pub aws_allowed_regions: Option<BTreeSet<String>>,
    /// Accept AWS keys of fewer than 2048 bits, which sign `/signature`
    pub aws_allow_rsa1024: bool,
    /// Accept the legacy `/pkcs7` of AWS, signed with DSA and SHA-1
    ///
    /// Both are broken for new signatures. Needs the feature `dsa`; without it such
    /// proofs are refused in any case.
    pub aws_allow_dsa_sha1: bool,

    /// Refuse Azure's attested data after its `expiresOn`, six hours after it was made
    pub azure_enforce_expires_on: bool,
    /// The nonce that Azure's attested data must answer, of 1 to 32 characters
    ///
    /// If no nonce was asked for, Azure writes a time instead. It answers no nonce, even an
    /// equal one.
    pub azure_expected_nonce: Option<String>,
    /// The Azure subscriptions whose machines are accepted, compared without case
    pub azure_allowed_subscriptions: Option<BTreeSet<String>>,
    /// The Azure clouds whose machines are accepted
    ///
    /// Without it all but Germany, which was closed in 2021 and counts only under a
    /// root that an operator added.
    pub azure_clouds: Option<BTreeSet<azure::Environment>>,

    /// The audience a Google identity token must name
    #[serde(alias = "gcp_audience")]
    pub google_audience: Audience,
    /// The Google projects whose instances are accepted, by id
    #[serde(alias = "gcp_allowed_projects")]
    pub google_allowed_projects: Option<BTreeSet<String>>,
    /// The service accounts whose instances are accepted, by verified address
    #[serde(alias = "gcp_allowed_service_accounts")]
    pub google_allowed_service_accounts: Option<BTreeSet<String>>,
    /// The most seconds since a Google instance was created
    #[serde(alias = "gcp_max_instance_age_seconds")]
    pub google_max_instance_age_seconds: Option<u64>,
    /// The most seconds between `iat` and `exp` of a Google token, `None` for any
    ///
    /// Google issues them for 3,600.
    #[serde(alias = "gcp_max_lifetime_seconds")]
    pub google_max_lifetime_seconds: Option<u64>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            leeway_seconds: 60,
            aws_max_document_age_seconds: None,
            aws_allowed_accounts: None,
            aws_allowed_regions: None,
            aws_allow_rsa1024: true,
            aws_allow_dsa_sha1: false,
            azure_enforce_expires_on: true,
            azure_expected_nonce: None,
            azure_allowed_subscriptions: None,
            azure_clouds: None,
            google_audience: Audience::default(),
            google_allowed_projects: None,
            google_allowed_service_accounts: None,
            google_max_instance_age_seconds: None,
            google_max_lifetime_seconds: Some(3_900),
        }
    }
}

impl Policy {
    /// Refuses a `what` that began more than the leeway after `now`
    pub(crate) fn check_begun(
        &self,
        what: &'static str,
        begin: SystemTime,
        now: SystemTime,
    ) -> Result<(), Error> {
        match begin.duration_since(now) {
            Ok(ahead) if ahead > self.leeway() => {
                Err(Error::NotYetValid { what, time: now, not_before: begin })
            }
            _ => Ok(()),
        }
    }

    /// Refuses a `what` whose last moment, `end`, is more than the leeway before `now`
    pub(crate) fn check_not_ended(
        &self,
        what: &'static str,
        end: SystemTime,
        now: SystemTime,
    ) -> Result<(), Error> {
        self.check_age(what, end, 0, now)
    }

    /// Refuses a `what` if `now` is `end` or later, give or take the leeway
    pub(crate) fn check_before_end(
        &self,
        what: &'static str,
        end: SystemTime,
        now: SystemTime,
    ) -> Result<(), Error> {
        match now.duration_since(end) {
            Ok(past) if past >= self.leeway() => {
                Err(Error::Expired { what, time: now, not_after: end })
            }
            _ => Ok(()),
        }
    }

    /// Refuses a `what` that began more than `max_seconds` and the leeway ago
    pub(crate) fn check_age(
        &self,
        what: &'static str,
        begin: SystemTime,
        max_seconds: u64,
        now: SystemTime,
    ) -> Result<(), Error> {
        let max_age = Duration::from_secs(max_seconds);
        match now.duration_since(begin) {
            Ok(age) if age > max_age.saturating_add(self.leeway()) => {
                // An end that cannot be represented is far in the future.
                let not_after = begin.checked_add(max_age).unwrap_or(now);
                Err(Error::Expired { what, time: now, not_after })
            }
            _ => Ok(()),
        }
    }

    const fn leeway(&self) -> Duration {
        Duration::from_secs(self.leeway_seconds)
    }
}

/// The audience of a Google identity token
///
/// In a configuration a text, or `null` or `"*"` for any.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Audience {
    /// Exactly this one
    Is(String),
    /// Any: a token that another service received is then good here too
    Any,
}

impl Default for Audience {
    /// What the reference's agents ask for
    fn default() -> Self {
        Self::Is("coder".to_owned())
    }
}

impl Serialize for Audience {
    /// # Errors
    ///
    /// Fails for an audience that is `*`, since that text stands for any.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Is(audience) if audience == ANY => {
                Err(ser::Error::custom("the audience `*` would be read as any audience"))
            }
            Self::Is(audience) => serializer.serialize_str(audience),
            Self::Any => serializer.serialize_str(ANY),
        }
    }
}

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::<String>::deserialize(deserializer)? {
            Some(audience) if audience != ANY => Self::Is(audience),
            _ => Self::Any,
        })
    }
}

/// Whether an optional allowlist has `value`
pub(crate) fn allows(list: Option<&BTreeSet<String>>, value: Option<&str>) -> bool {
    list.is_none_or(|list| value.is_some_and(|value| list.contains(value)))
}

/// Stands for any audience in a configuration
const ANY: &str = "*";
