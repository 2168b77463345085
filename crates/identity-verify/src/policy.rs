use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use serde::Deserialize;

use crate::Error;

/// What a deployment demands of a proof beyond a genuine signature
///
/// Field names are the names of the configuration. Unknown ones are refused, so
/// that a misspelt restriction is not silently none. A list that is absent allows
/// all; an empty list allows none.
///
/// ```
/// let policy: identity_verify::Policy = serde_json::from_str(
///     r#"{"aws_allowed_accounts": ["123456789012"], "aws_max_document_age_seconds": 300}"#,
/// )?;
/// assert_eq!(policy.leeway_seconds, 60);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Policy {
    /// How many seconds the cloud's clock and ours may differ, in either direction
    pub leeway_seconds: u64,
    /// The most seconds since the `pendingTime` of an AWS document
    ///
    /// `pendingTime` is the last start of the instance, so this limit refuses
    /// machines that have merely run for long. Without it the time is not looked
    /// at, as in the reference.
    pub aws_max_document_age_seconds: Option<u64>,
    /// The AWS accounts whose instances are accepted, as twelve digits
    pub aws_allowed_accounts: Option<BTreeSet<String>>,
    /// The AWS regions whose instances are accepted
    pub aws_allowed_regions: Option<BTreeSet<String>>,
    /// Accept AWS keys of fewer than 2048 bits, which sign `/signature`
    pub aws_allow_rsa1024: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            leeway_seconds: 60,
            aws_max_document_age_seconds: None,
            aws_allowed_accounts: None,
            aws_allowed_regions: None,
            aws_allow_rsa1024: true,
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
            Ok(ahead) if ahead > self.leeway() => Err(Error::NotYetValid { what }),
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
        let limit = Duration::from_secs(max_seconds).saturating_add(self.leeway());
        match now.duration_since(begin) {
            Ok(age) if age > limit => Err(Error::Expired { what }),
            _ => Ok(()),
        }
    }

    const fn leeway(&self) -> Duration {
        Duration::from_secs(self.leeway_seconds)
    }
}

/// Whether an optional allowlist has `value`
pub(crate) fn allows(list: Option<&BTreeSet<String>>, value: Option<&str>) -> bool {
    list.is_none_or(|list| value.is_some_and(|value| list.contains(value)))
}
