use std::collections::BTreeSet;
use std::fmt;

use identity_verify::{Cloud, InstanceId};

use super::IdentityConfig;
use super::settings::Settings;
use crate::trust::{Trust, is_region};

/// A setting, or a value of it, that can do nothing, or lets no machine in
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdleSetting {
    setting: &'static str,
    problem: String,
}

impl fmt::Display for IdleSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.setting, self.problem)
    }
}

impl Settings {
    /// The identity settings that have no effect, or that refuse every machine
    pub(super) fn idle(&self) -> Vec<IdleSetting> {
        let lists = [
            List {
                setting: "aws_allowed_accounts",
                values: self.aws_allowed_accounts.as_deref(),
                is_possible: is_account,
                form: "not an AWS account, which has twelve digits",
            },
            List {
                setting: "aws_allowed_regions",
                values: self.aws_allowed_regions.as_deref(),
                is_possible: is_region,
                form: "not an AWS region such as us-east-1",
            },
            List {
                setting: "azure_allowed_subscriptions",
                values: self.azure_allowed_subscriptions.as_deref(),
                is_possible: is_uuid,
                form: "not an Azure subscription, which is a UUID with hyphens",
            },
            List {
                setting: "azure_clouds",
                values: self.azure_clouds.as_deref(),
                // Anything else is refused before.
                is_possible: |_| true,
                form: "",
            },
            List {
                setting: "google_allowed_projects",
                values: self.google_allowed_projects.as_deref(),
                is_possible: is_project,
                form: "not the id of a Google project; its number or its name is something else",
            },
            List {
                setting: "google_allowed_service_accounts",
                values: self.google_allowed_service_accounts.as_deref(),
                is_possible: is_address,
                form: "not the e-mail address of a Google service account",
            },
        ];
        let mut found: Vec<_> = lists.iter().flat_map(List::idle).collect();
        let mut report = |setting, problem: &str| {
            found.push(IdleSetting { setting, problem: problem.to_owned() });
        };
        if self.google_max_lifetime_seconds.is_some_and(|seconds| seconds < 3_600) {
            report(
                "google_max_lifetime_seconds",
                "refuses every token: Google issues them for 3600 seconds",
            );
        }
        if self.azure_expected_nonce.as_deref().is_some_and(|nonce| !is_nonce(nonce)) {
            report(
                "azure_expected_nonce",
                "refuses every machine: a nonce has 1 to 32 letters, digits, - and _, and is not \
                 the time that Azure fills in",
            );
        }
        if self
            .google_audience
            .as_deref()
            .is_some_and(|audience| audience.trim() != audience || audience.is_empty())
        {
            report(
                "google_audience",
                "is empty or has blanks around it, which no machine asks for",
            );
        }
        found
    }
}

impl IdentityConfig {
    /// The settings that can do nothing beside what is trusted
    pub(crate) fn idle_beside<'a>(
        &'a self,
        trust: &'a Trust,
    ) -> impl Iterator<Item = IdleSetting> + 'a {
        let regions = self.policy.aws_allowed_regions.iter().flatten();
        let without_key = regions.filter(|region| {
            is_region(region) && !trust.aws.regions().any(|known| known == region.as_str())
        });
        let without_key = without_key.map(|region| IdleSetting {
            setting: "aws_allowed_regions",
            problem: format!(
                "has {region:?}, of which no key is known; put its certificate at \
                 `aws/{region}.pem` in the trust folder"
            ),
        });
        let keys = trust.google.is_some() && self.fetches_keys_by_setting;
        let keys = keys.then(|| IdleSetting {
            setting: "fetch_google_keys",
            problem: "does nothing: `google/jwks.json` in the trust folder is used instead"
                .to_owned(),
        });
        self.idle.iter().cloned().chain(without_key).chain(keys)
    }
}

/// A list of what is allowed
struct List<'a> {
    setting: &'static str,
    values: Option<&'a [String]>,
    is_possible: fn(&str) -> bool,
    /// What an impossible value is
    form: &'static str,
}

impl List<'_> {
    fn idle(&self) -> Vec<IdleSetting> {
        let Some(values) = self.values else { return Vec::new() };
        let report = |problem: String| IdleSetting { setting: self.setting, problem };
        if values.is_empty() {
            return vec![report(
                "is empty, which lets no machine in; leave it out to allow all".to_owned(),
            )];
        }
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for value in values {
            // Where case counts for nothing, two that differ in it alone are one.
            if !seen.insert(value.to_ascii_lowercase()) {
                found.push(report(format!("has {value:?} more than once")));
            } else if !(self.is_possible)(value) {
                found.push(report(format!("has {value:?}, which is {}", self.form)));
            }
        }
        found
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_uuid(text: &str) -> bool {
    InstanceId::parse(Cloud::Azure, text).is_ok()
}

/// "Creating and managing projects": 6 to 30 small letters, digits and hyphens; those of
/// old organizations have a domain and a colon in front
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

/// Google writes addresses in small letters, and the policy compares them as they are
fn is_address(text: &str) -> bool {
    let has_parts = text
        .split_once('@')
        .is_some_and(|(user, host)| !user.is_empty() && host.contains('.') && !host.contains('@'));
    has_parts && !text.bytes().any(|b| b.is_ascii_uppercase() || b.is_ascii_whitespace())
}

fn is_nonce(text: &str) -> bool {
    let is_filling = text.split_once('-').is_some_and(|(date, time)| {
        let digits =
            |part: &str, len| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
        digits(date, 8) && digits(time, 6)
    });
    matches!(text.len(), 1..=32)
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        && !is_filling
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(settings: &Settings) -> Vec<String> {
        settings.idle().iter().map(ToString::to_string).collect()
    }

    fn list(values: &[&str]) -> Option<Vec<String>> {
        Some(values.iter().map(|value| (*value).to_owned()).collect())
    }

    #[test]
    fn values_that_a_cloud_can_give_are_passed_over() {
        let settings = Settings {
            aws_allowed_accounts: list(&["628783029487", "000000000001"]),
            aws_allowed_regions: list(&[
                "us-east-1",
                "us-gov-west-1",
                "eusc-de-east-1",
                "us-isob-east-1",
            ]),
            azure_allowed_subscriptions: list(&["8D10DA13-8125-4ba9-a717-bf7490507b3d"]),
            azure_clouds: list(&["public", "china"]),
            google_allowed_projects: list(&["example-project", "example.com:project-1", "abc123"]),
            google_allowed_service_accounts: list(&[
                "vm@example-project.iam.gserviceaccount.com",
                "739419398126-compute@developer.gserviceaccount.com",
            ]),
            google_audience: Some("*".to_owned()),
            google_max_lifetime_seconds: Some(3_600),
            azure_expected_nonce: Some("abc-DEF_123".to_owned()),
            ..Settings::default()
        };
        assert_eq!(told(&settings), [""; 0]);
        assert_eq!(told(&Settings::default()), [""; 0]);
    }

    #[test]
    fn values_that_no_cloud_gives_are_named() {
        let mut settings = Settings::default();
        let mut check =
            |set: &dyn Fn(&mut Settings, Option<Vec<String>>), setting: &str, bad: &[&str]| {
                for value in bad {
                    settings = Settings::default();
                    set(&mut settings, list(&[value]));
                    let told = told(&settings);
                    assert_eq!(told.len(), 1, "{value}: {told:?}");
                    assert!(told[0].starts_with(&format!("`{setting}` has {value:?}")), "{told:?}");
                }
            };
        check(
            &|s, list| s.aws_allowed_accounts = list,
            "aws_allowed_accounts",
            &[
                "6287-8302-9487",
                "62878302948",
                "6287830294870",
                "alice",
                "arn:aws:iam::628783029487:root",
            ],
        );
        check(
            &|s, list| s.aws_allowed_regions = list,
            "aws_allowed_regions",
            &[
                "us-east-1a",
                "US-EAST-1",
                "useast1",
                "us_east_1",
                "Oregon",
                "us-west-2-lax-1a",
                "eu",
            ],
        );
        check(
            &|s, list| s.azure_allowed_subscriptions = list,
            "azure_allowed_subscriptions",
            &[
                "8d10da1381254ba9a717bf7490507b3d",
                "{8d10da13-8125-4ba9-a717-bf7490507b3d}",
                "production",
                "/subscriptions/8d10da13-8125-4ba9-a717-bf7490507b3d",
            ],
        );
        check(
            &|s, list| s.google_allowed_projects = list,
            "google_allowed_projects",
            &["739419398126", "Example", "ab", "projects/example-project", "ends-with-"],
        );
        check(
            &|s, list| s.google_allowed_service_accounts = list,
            "google_allowed_service_accounts",
            &["vm", "vm@", "Vm@example-project.iam.gserviceaccount.com", "113774264463038321964"],
        );
    }

    #[test]
    fn duplicates_and_empty_lists_are_named() {
        let settings = Settings {
            aws_allowed_accounts: list(&["628783029487", "628783029487"]),
            azure_allowed_subscriptions: list(&[
                "8d10da13-8125-4ba9-a717-bf7490507b3d",
                "8D10DA13-8125-4BA9-A717-BF7490507B3D",
            ]),
            azure_clouds: list(&["public", "public"]),
            google_allowed_projects: list(&[]),
            ..Settings::default()
        };
        let told = told(&settings);
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(told[0].contains("`aws_allowed_accounts` has \"628783029487\" more than once"));
        assert!(told[1].contains("8D10DA13") && told[1].contains("more than once"));
        assert!(told[2].contains("`azure_clouds` has \"public\" more than once"));
        assert!(told[3].contains("`google_allowed_projects` is empty"));
    }

    #[test]
    fn single_values_that_refuse_every_machine_are_named() {
        for (settings, part) in [
            (
                Settings { google_max_lifetime_seconds: Some(600), ..Settings::default() },
                "google_max_lifetime_seconds",
            ),
            (
                Settings { azure_expected_nonce: Some("a b".into()), ..Settings::default() },
                "azure_expected_nonce",
            ),
            (
                Settings {
                    azure_expected_nonce: Some("20220419-072721".into()),
                    ..Settings::default()
                },
                "azure_expected_nonce",
            ),
            (
                Settings { azure_expected_nonce: Some("x".repeat(33)), ..Settings::default() },
                "nonce",
            ),
            (
                Settings { google_audience: Some(String::new()), ..Settings::default() },
                "google_audience",
            ),
            (
                Settings { google_audience: Some("coder ".into()), ..Settings::default() },
                "google_audience",
            ),
        ] {
            let told = told(&settings);
            assert!(told.len() == 1 && told[0].contains(part), "{told:?}");
        }
    }
}
