use std::collections::BTreeSet;
use std::fmt;

use crate::azure::Environment;
use crate::{Audience, Cloud, InstanceId, Policy, aws};

/// A setting of a [`Policy`] that is valid but cannot have been meant
///
/// Either it has a value that no machine can match, or it rejects every machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyWarning {
    setting: &'static str,
    problem: String,
}

impl PolicyWarning {
    /// The name of the setting, such as `aws_allowed_accounts`
    #[must_use]
    pub const fn setting(&self) -> &'static str {
        self.setting
    }
}

impl fmt::Display for PolicyWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.setting, self.problem)
    }
}

impl Policy {
    /// Returns the settings that no machine can match, or that reject every machine
    ///
    /// An allowed value is compared with the form of such values, not with the ones that exist:
    /// an account number with hyphens is found, and a mistyped digit is not.
    ///
    /// ```
    /// let policy: identity_verify::Policy =
    ///     serde_json::from_str(r#"{"aws_allowed_accounts": ["1234-5678-9012"]}"#)?;
    /// assert_eq!(
    ///     policy.warnings()[0].to_string(),
    ///     "`aws_allowed_accounts` has \"1234-5678-9012\", which is not an AWS account, which has \
    ///      twelve digits",
    /// );
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn warnings(&self) -> Vec<PolicyWarning> {
        let mut found = Vec::new();
        for list in self.lists() {
            list.check(&mut found);
        }
        let mut warn = |setting, problem: &str| {
            found.push(PolicyWarning { setting, problem: problem.to_owned() });
        };
        if self.azure_clouds.as_ref().is_some_and(BTreeSet::is_empty) {
            warn("azure_clouds", EMPTY);
        }
        if self.azure_clouds.as_ref().is_some_and(|clouds| clouds.contains(&Environment::Germany)) {
            warn("azure_clouds", "has \"germany\", a cloud that was closed in 2021");
        }
        if self.google_max_lifetime_seconds.is_some_and(|seconds| seconds < 3_600) {
            warn(
                "google_max_lifetime_seconds",
                "refuses every token: Google issues them for 3600 seconds",
            );
        }
        if self.azure_expected_nonce.as_deref().is_some_and(|nonce| !is_nonce(nonce)) {
            warn(
                "azure_expected_nonce",
                "refuses every machine: a nonce has 1 to 32 letters, digits, - and _, and is not \
                 the time that Azure fills in",
            );
        }
        let is_unusual = |audience: &str| audience.trim() != audience || audience.is_empty();
        if matches!(&self.google_audience, Audience::Is(audience) if is_unusual(audience)) {
            warn("google_audience", "is empty or has spaces around it, which no machine asks for");
        }
        found
    }

    fn lists(&self) -> [List<'_>; 5] {
        [
            List {
                setting: "aws_allowed_accounts",
                values: self.aws_allowed_accounts.as_ref(),
                has_form: is_account,
                form: "an AWS account, which has twelve digits",
            },
            List {
                setting: "aws_allowed_regions",
                values: self.aws_allowed_regions.as_ref(),
                has_form: aws::is_region_name,
                form: "an AWS region such as us-east-1",
            },
            List {
                setting: "azure_allowed_subscriptions",
                values: self.azure_allowed_subscriptions.as_ref(),
                has_form: is_uuid,
                form: "an Azure subscription, which is a UUID with hyphens",
            },
            List {
                setting: "google_allowed_projects",
                values: self.google_allowed_projects.as_ref(),
                has_form: is_project,
                form: "the id of a Google project, which differs from its number and its name",
            },
            List {
                setting: "google_allowed_service_accounts",
                values: self.google_allowed_service_accounts.as_ref(),
                has_form: is_address,
                form: "the e-mail address of a Google service account",
            },
        ]
    }
}

/// A list of allowed values, and the form that such values have
struct List<'a> {
    setting: &'static str,
    values: Option<&'a BTreeSet<String>>,
    has_form: fn(&str) -> bool,
    form: &'static str,
}

impl List<'_> {
    fn check(&self, found: &mut Vec<PolicyWarning>) {
        let Self { setting, values, has_form, form } = *self;
        let Some(values) = values else { return };
        if values.is_empty() {
            found.push(PolicyWarning { setting, problem: EMPTY.to_owned() });
        }
        found.extend(values.iter().filter(|value| !has_form(value)).map(|value| PolicyWarning {
            setting,
            problem: format!("has {value:?}, which is not {form}"),
        }));
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_uuid(text: &str) -> bool {
    InstanceId::parse(Cloud::Azure, text).is_ok()
}

/// "Creating and managing projects": 6 to 30 lower-case letters, digits and hyphens; those of
/// old organizations begin with a domain and a colon
fn is_project(text: &str) -> bool {
    let id = match text.split_once(':') {
        Some((domain, id)) if domain.contains('.') => id,
        Some(_) => return false,
        None => text,
    };
    matches!(id.len(), 6..=30)
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && !id.ends_with('-')
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// "Types of service accounts": all addresses end with Google's domain. Google writes them in lower
/// case, and the policy compares them exactly
fn is_address(text: &str) -> bool {
    let has_letters = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| {
                b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_')
            })
    };
    text.split_once('@').is_some_and(|(user, host)| {
        has_letters(user) && has_letters(host) && host.ends_with(".gserviceaccount.com")
    })
}

/// Azure fills in the time as `YYYYMMDD-HHMMSS` if no nonce was requested
fn is_nonce(text: &str) -> bool {
    let is_time = text.split_once('-').is_some_and(|(date, time)| {
        let digits =
            |part: &str, len| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
        digits(date, 8) && digits(time, 6)
    });
    matches!(text.len(), 1..=32)
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        && !is_time
}

const EMPTY: &str = "is empty, so that no machine is accepted; leave it out to accept all";
