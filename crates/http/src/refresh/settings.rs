//! The settings of an operator, which are in one list with those of sign-in

use app_authz::address::HttpUrl;

use super::config::{RefreshConfig, RefreshConfigError};
use crate::oidc::OidcSettings;

impl OidcSettings {
    /// Which tokens of identity providers are refreshed
    ///
    /// Secrets that are in files have to be [read](Self::with_secret) before.
    ///
    /// # Errors
    ///
    /// [`RefreshConfigError`], whose [`setting`](RefreshConfigError::setting) is the one to change.
    pub fn refresh(
        &self,
        access_url: Option<&HttpUrl>,
    ) -> Result<RefreshConfig, RefreshConfigError> {
        let secrets = [
            ("refresh_oidc_client_secret", &self.refresh_oidc_client_secret_file),
            ("refresh_github_client_secret", &self.refresh_github_client_secret_file),
        ];
        if let Some((setting, _)) = secrets.into_iter().find(|(_, file)| file.is_some()) {
            return Err(RefreshConfigError::TwoSecrets { setting });
        }
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let needs_access_url = |setting| match access_url {
            Some(_) => Ok(()),
            None => Err(RefreshConfigError::NoAccessUrl { setting }),
        };
        let mut config = RefreshConfig::default();
        let secret = self.refresh_oidc_client_secret.as_deref();
        match (given(&self.refresh_oidc_issuer_url), given(&self.refresh_oidc_client_id)) {
            (Some(issuer), id) => {
                needs_access_url("refresh_oidc_issuer_url")?;
                config = config.oidc(&issuer, &id.unwrap_or_default(), secret)?;
            }
            (None, Some(_)) => return Err(RefreshConfigError::NoIssuer),
            (None, None) => {}
        }
        if let Some(id) = given(&self.refresh_github_client_id) {
            needs_access_url("refresh_github_client_id")?;
            config = config.github(&id, self.refresh_github_client_secret.as_deref())?;
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let url: HttpUrl = "https://a.example".parse().unwrap();
        let settings = |given: &[(&'static str, &str)]| {
            let of = |name: &str| {
                let found = given.iter().find(|(known, _)| *known == name);
                found.map(|(_, text)| vec![(*text).to_owned()])
            };
            OidcSettings::of_texts(of).unwrap()
        };
        let (issuer, id) = ("refresh_oidc_issuer_url", "refresh_oidc_client_id");
        let (github, secret) = ("refresh_github_client_id", "refresh_github_client_secret");
        let oidc = [(issuer, "https://id.example"), (id, "coder")];
        let good = [&oidc[..], &[(github, "Iv1"), (secret, "hunter2")]].concat();
        let config = settings(&good).refresh(Some(&url)).unwrap();
        assert!(config.oidc.is_some() && config.github.is_some());
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
        assert!(settings(&[(issuer, ""), (github, "")]).refresh(None).unwrap().is_empty());
        for (given, at, setting) in [
            (&oidc[..], None, issuer),
            (&[(github, "Iv1")], None, github),
            (&[(id, "coder")], Some(&url), issuer),
            (&oidc[..1], Some(&url), id),
            (&[(issuer, "http://id.example"), oidc[1]], Some(&url), issuer),
            (&[("refresh_github_client_secret_file", "/s")], Some(&url), secret),
        ] {
            assert_eq!(settings(given).refresh(at).unwrap_err().setting(), setting);
        }
    }
}
