use std::collections::BTreeSet;
use std::path::PathBuf;

use authd_http::Freshness;
use identity_fetch::KeyUrl;
use identity_verify::Policy;

use super::error::ConfigError;
use super::settings::Settings;

/// Which proofs are accepted, and what is fetched to verify them
#[derive(Debug, Default)]
pub(crate) struct IdentityConfig {
    pub(crate) policy: Policy,
    pub(crate) trust_dir: Option<PathBuf>,
    /// Where Google's keys are fetched, if they are
    pub(crate) google_keys: Option<KeyUrl>,
    /// Whether `google_keys` was set and is not the default
    pub(crate) google_keys_set: bool,
    pub(crate) fetch_azure_issuers: bool,
    /// Values that a list has more than once, each as a sentence
    pub(crate) repeated: Vec<String>,
}

impl Settings {
    pub(super) fn identity(&self) -> Result<IdentityConfig, ConfigError> {
        let google_keys = match self.fetch_google_keys.as_deref() {
            Some("off") => None,
            Some(url) => Some(url.parse().map_err(ConfigError::KeyUrl)?),
            None => Some(KeyUrl::default()),
        };
        Ok(IdentityConfig {
            policy: self.policy()?,
            trust_dir: self.trust_dir.clone(),
            google_keys_set: self.fetch_google_keys.is_some() && google_keys.is_some(),
            google_keys,
            fetch_azure_issuers: self.fetch_azure_issuers.unwrap_or_default(),
            repeated: self.repeated(),
        })
    }

    /// How fresh proofs must be
    pub(super) fn freshness(&self, policy: &Policy) -> Result<Freshness, ConfigError> {
        let setting = "require_nonce";
        Freshness::default()
            .pins(self.identity_pins.unwrap_or_default())
            .leeway_seconds(policy.leeway_seconds)
            .require_nonces(self.require_nonce.iter().flatten().map(String::as_str))
            .map_err(|error| ConfigError::Setting {
                setting,
                problem: format!("is not usable: {error}"),
            })
    }

    /// The identity policy, whose fields have the names of the settings
    fn policy(&self) -> Result<Policy, ConfigError> {
        let wrong = |key: String, error| ConfigError::Policy { key, error };
        let mut keys = serde_json::to_value(self).map_err(|error| wrong(String::new(), error))?;
        if let Some(keys) = keys.as_object_mut() {
            keys.retain(|key, value| {
                let ours = ["aws_", "azure_", "google_", "leeway_"];
                !value.is_null() && ours.iter().any(|prefix| key.starts_with(prefix))
            });
        }
        serde_path_to_error::deserialize(keys)
            .map_err(|error| wrong(error.path().to_string(), error.into_inner()))
    }

    /// The policy's lists are sets, which no longer show that a value was repeated
    fn repeated(&self) -> Vec<String> {
        let lists = [
            ("aws_allowed_accounts", &self.aws_allowed_accounts),
            ("aws_allowed_regions", &self.aws_allowed_regions),
            ("azure_allowed_subscriptions", &self.azure_allowed_subscriptions),
            ("azure_clouds", &self.azure_clouds),
            ("google_allowed_projects", &self.google_allowed_projects),
            ("google_allowed_service_accounts", &self.google_allowed_service_accounts),
        ];
        let mut found = Vec::new();
        for (setting, values) in lists {
            let mut seen = BTreeSet::new();
            for value in values.iter().flatten() {
                // Subscriptions are compared without case, and all other values are lower case.
                if !seen.insert(value.to_ascii_lowercase()) {
                    found.push(format!("`{setting}` has {value:?} more than once"));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_value_is_named() {
        let list = |values: &[&str]| Some(values.iter().map(|v| (*v).to_owned()).collect());
        let settings = Settings {
            aws_allowed_accounts: list(&["628783029487", "628783029487"]),
            aws_allowed_regions: list(&["us-east-1", "us-east-2"]),
            azure_allowed_subscriptions: list(&[
                "8d10da13-8125-4ba9-a717-bf7490507b3d",
                "8D10DA13-8125-4BA9-A717-BF7490507B3D",
            ]),
            azure_clouds: list(&["public", "public"]),
            ..Settings::default()
        };
        assert_eq!(
            settings.repeated(),
            [
                "`aws_allowed_accounts` has \"628783029487\" more than once",
                "`azure_allowed_subscriptions` has \"8D10DA13-8125-4BA9-A717-BF7490507B3D\" more \
                 than once",
                "`azure_clouds` has \"public\" more than once",
            ]
        );
    }

    #[test]
    fn a_nonce_can_be_required_of_clouds_that_sign_one() {
        let freshness = |clouds: &[&str]| {
            let require_nonce = Some(clouds.iter().map(|cloud| (*cloud).to_owned()).collect());
            let settings = Settings { require_nonce, ..Settings::default() };
            let freshness = settings.freshness(&Policy::default());
            freshness.map(|freshness| freshness.nonces().len()).map_err(|error| error.to_string())
        };
        assert_eq!(freshness(&[]), Ok(0));
        assert_eq!(freshness(&["azure"]), Ok(1));
        assert_eq!(freshness(&["azure", "google", "azure"]), Ok(2));
        let refused = "`require_nonce` is not usable: machines of aws cannot answer a nonce: the cloud \
                       signs none with its documents";
        assert_eq!(freshness(&["google", "aws"]), Err(refused.to_owned()));
        for unknown in ["gcp", "Azure", "all", ""] {
            let refused =
                format!("`require_nonce` is not usable: {unknown:?} is not `azure` or `google`");
            assert_eq!(freshness(&[unknown]), Err(refused));
        }
    }
}
