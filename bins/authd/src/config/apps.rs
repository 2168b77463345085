use std::path::PathBuf;

use app_authz::Rules;
use app_authz::address::{HostPattern, HttpUrl, Scheme};
use app_authz::rbac::Switches;
use authd_http::{
    AppsConfig, Branding, BrandingError, CookieConfig, Logo, SameSite, TrustedProxies,
};
use http::header::HeaderName;

use super::error::ConfigError;
use super::settings::Settings;
use super::value::Within;

impl Settings {
    /// How apps are reached, if app access is on
    ///
    /// `spool` is the file for audit events that the database did not get.
    pub(super) fn apps(&self, spool: Option<PathBuf>) -> Result<Option<AppsConfig>, ConfigError> {
        // Checked even while app access is off, so that a typo is found now.
        let trusted = self.trusted()?;
        let branding = self.branding()?;
        let Some(access_url) = &self.access_url else {
            self.cookies(Scheme::Https)?;
            return match self.wildcard_access_url.as_deref() {
                None | Some("") => Ok(None),
                Some(_) => {
                    Err(ConfigError::setting("wildcard_access_url", "needs `access_url` beside it"))
                }
            };
        };
        let access_url: HttpUrl = access_url
            .parse()
            .map_err(|_| ConfigError::setting("access_url", "is not an `http` or `https` URL"))?;
        if access_url.path() != "/" || access_url.query().is_some() {
            return Err(ConfigError::setting(
                "access_url",
                "must be the root of its host, without a path or a query",
            ));
        }
        let switch = |setting: Option<bool>| setting.unwrap_or_default();
        let mut apps = AppsConfig::new(access_url);
        apps.app_hosts = self.app_hosts()?;
        apps.disable_path_apps = switch(self.disable_path_apps);
        apps.rules = Rules::default()
            .allow_path_app_sharing(switch(self.dangerous_allow_path_app_sharing))
            .allow_path_app_site_owner_access(switch(
                self.dangerous_allow_path_app_site_owner_access,
            ))
            .disable_workspace_sharing(switch(self.disable_workspace_sharing))
            .enforce_max_port_sharing(switch(self.enforce_max_port_sharing_level));
        apps.switches = Switches::default()
            .disable_owner_workspace_access(switch(self.disable_owner_workspace_access))
            .disable_workspace_sharing(switch(self.disable_workspace_sharing));
        apps.session_duration =
            self.session_duration_seconds.map_or(apps.session_duration, Within::seconds);
        apps.disable_expiry_refresh = switch(self.disable_session_expiry_refresh);
        apps.disable_token_expiry_refresh = switch(self.disable_token_expiry_refresh);
        apps.terminal_origins = self.terminal_origins()?;
        apps.cookies = self.cookies(apps.access_url.scheme())?;
        apps.trusted = trusted;
        apps.branding = branding;
        apps.agent_inactive_timeout = self
            .agent_inactive_timeout_seconds
            .map_or(apps.agent_inactive_timeout, Within::seconds);
        apps.audit_session_timeout =
            self.audit_session_timeout_seconds.map_or(apps.audit_session_timeout, Within::seconds);
        apps.audit_close_rows = switch(self.audit_close_rows);
        apps.audit_fail = self.audit_fail.unwrap_or_default();
        apps.audit_spool = spool;
        apps.signing = self.app_token_signing.unwrap_or_default();
        apps.token_lifetime =
            self.app_token_lifetime_seconds.map_or(apps.token_lifetime, Within::seconds);
        Ok(Some(apps))
    }

    fn app_hosts(&self) -> Result<Option<HostPattern>, ConfigError> {
        let Some(pattern) = self.wildcard_access_url.as_deref().filter(|text| !text.is_empty())
        else {
            return Ok(None);
        };
        let pattern: HostPattern = pattern.parse().map_err(|_| {
            ConfigError::setting(
                "wildcard_access_url",
                "is not a pattern such as `*.apps.example.com`",
            )
        })?;
        Ok(Some(pattern))
    }

    fn terminal_origins(&self) -> Result<Vec<HttpUrl>, ConfigError> {
        let origins = self.terminal_origins.iter().flatten().map(|text| {
            let url = text.trim().parse::<HttpUrl>().ok();
            url.filter(|url| url.path() == "/" && url.query().is_none()).ok_or_else(|| {
                ConfigError::setting(
                    "terminal_origins",
                    format!("`{text}` is not an origin such as `https://a.example`"),
                )
            })
        });
        origins.collect()
    }

    fn cookies(&self, dashboard: Scheme) -> Result<CookieConfig, ConfigError> {
        let cookies = CookieConfig {
            secure: self.secure_auth_cookie.unwrap_or(dashboard == Scheme::Https),
            same_site: self.samesite_auth_cookie.unwrap_or_default(),
            partitioned: self.partitioned_auth_cookie.unwrap_or_default(),
            prefix: self.cookie_prefix.clone().unwrap_or_default(),
        };
        // Browsers silently drop such cookies, so that no user could sign in.
        let needs_secure = if cookies.same_site == SameSite::None {
            Some(("samesite_auth_cookie", "`none`"))
        } else if cookies.partitioned {
            Some(("partitioned_auth_cookie", "`true`"))
        } else if cookies.prefix.to_ascii_lowercase().starts_with("__secure-") {
            Some(("cookie_prefix", "`__Secure-`"))
        } else {
            None
        };
        if let (Some((setting, value)), false) = (needs_secure, cookies.secure) {
            return Err(ConfigError::setting(
                setting,
                format!("cannot be {value} without `secure_auth_cookie`"),
            ));
        }
        if cookies.prefix.to_ascii_lowercase().starts_with("__host-") {
            return Err(ConfigError::setting(
                "cookie_prefix",
                "cannot be `__Host-`: app cookies have paths",
            ));
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !cookies.prefix.bytes().all(is_name) {
            return Err(ConfigError::setting(
                "cookie_prefix",
                "may hold letters, digits, `-`, `_` and `.`",
            ));
        }
        Ok(cookies)
    }

    fn branding(&self) -> Result<Branding, ConfigError> {
        let mut branding = Branding::default();
        branding.name = parsed("deployment_name", self.deployment_name.as_deref(), str::parse)?;
        branding.contact = parsed("support_contact", self.support_contact.as_deref(), str::parse)?;
        branding.logo = parsed("deployment_logo", self.deployment_logo.as_deref(), |logo| {
            let read = || std::fs::read(logo).map_err(|_| BrandingError::LogoFile);
            if logo.contains("://") { Logo::at(logo) } else { Logo::from_bytes(&read()?) }
        })?;
        Ok(branding)
    }

    fn trusted(&self) -> Result<TrustedProxies, ConfigError> {
        let (sockets, networks): (Vec<_>, Vec<_>) = self
            .proxy_trusted_origins
            .iter()
            .flatten()
            .map(|text| text.trim())
            .partition(|text| *text == UNIX);
        let origins = networks.iter().map(|text| {
            let no_network =
                |error| ConfigError::setting("proxy_trusted_origins", format!("`{text}`: {error}"));
            text.parse().map_err(no_network)
        });
        let headers = self.proxy_trusted_headers.iter().flatten().map(|text| {
            let no_header = |_| {
                ConfigError::setting(
                    "proxy_trusted_headers",
                    format!("`{text}` is not the name of a header"),
                )
            };
            text.trim().parse::<HeaderName>().map_err(no_header)
        });
        Ok(TrustedProxies {
            origins: origins.collect::<Result<_, _>>()?,
            unix_sockets: !sockets.is_empty(),
            headers: headers.collect::<Result<_, _>>()?,
        })
    }
}

/// The peers of Unix sockets, among the networks of proxies
const UNIX: &str = "unix";

fn parsed<T>(
    setting: &'static str,
    text: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, BrandingError>,
) -> Result<Option<T>, ConfigError> {
    let parsed = text.filter(|text| !text.is_empty()).map(parse).transpose();
    parsed.map_err(|error| ConfigError::setting(setting, error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use authd_http::AuditFail;

    use super::*;

    fn apps(toml: &str) -> Result<Option<AppsConfig>, String> {
        let settings: Settings = toml::from_str(toml).unwrap();
        settings.apps(None).map_err(|error| error.to_string())
    }

    #[test]
    fn app_access_is_off_without_an_access_url_and_strict_with_one() {
        assert!(apps("").unwrap().is_none());
        let strict = apps("access_url = \"https://coder.example.com\"").unwrap().unwrap();
        assert_eq!(strict.rules, Rules::default().enforce_max_port_sharing(false));
        assert_eq!(strict.session_duration, Duration::from_secs(86_400));
        assert_eq!(strict.agent_inactive_timeout, Duration::from_secs(30));
        assert_eq!(strict.token_lifetime, Duration::from_secs(60));
        assert_eq!(strict.audit_fail, AuditFail::Open);
        assert!(strict.app_hosts.is_none() && strict.cookies.secure);
        assert!(!strict.disable_expiry_refresh && !strict.disable_token_expiry_refresh);
    }

    #[test]
    fn cookies_are_secure_where_the_dashboard_is_unless_a_setting_says_otherwise() {
        let is_secure = |scheme: &str, setting: &str| {
            let toml = format!("access_url = \"{scheme}://a.example\"\n{setting}");
            apps(&toml).unwrap().unwrap().cookies.secure
        };
        assert!(is_secure("https", "") && !is_secure("http", ""));
        assert!(!is_secure("https", "secure_auth_cookie = false"));
        assert!(is_secure("http", "secure_auth_cookie = true"));
    }

    #[test]
    fn sessions_and_api_tokens_have_separate_settings_for_their_extension() {
        let ends = |setting: &str| {
            let toml = format!("access_url = \"https://a.example\"\n{setting} = true");
            let apps = apps(&toml).unwrap().unwrap();
            (apps.disable_expiry_refresh, apps.disable_token_expiry_refresh)
        };
        assert_eq!(ends("disable_session_expiry_refresh"), (true, false));
        assert_eq!(ends("disable_token_expiry_refresh"), (false, true));
    }

    #[test]
    fn the_pattern_of_app_hosts_keeps_its_case_and_port() {
        let hosts = |access: &str, wildcard: &str| {
            let toml = format!("access_url = \"{access}\"\nwildcard_access_url = \"{wildcard}\"");
            apps(&toml).unwrap().unwrap().app_hosts.unwrap().to_string()
        };
        assert_eq!(hosts("http://a.example:4444", "*.apps.example"), "*.apps.example");
        assert_eq!(hosts("http://a.example:4444", "*.Apps.example:80"), "*.Apps.example:80");
        assert_eq!(hosts("https://a.example", "*--apps.example.com"), "*--apps.example.com");
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let url = "access_url = \"https://a.example\"\n";
        let plain = "access_url = \"http://a.example\"\n";
        for (toml, setting) in [
            ("access_url = \"a.example\"".to_owned(), "access_url"),
            ("access_url = \"ftp://a.example\"".to_owned(), "access_url"),
            ("access_url = \"https://a.example/coder\"".to_owned(), "access_url"),
            ("wildcard_access_url = \"*.b.example\"".to_owned(), "wildcard_access_url"),
            (format!("{url}wildcard_access_url = \"b.example\""), "wildcard_access_url"),
            (format!("{plain}samesite_auth_cookie = \"none\""), "samesite_auth_cookie"),
            (format!("{plain}partitioned_auth_cookie = true"), "partitioned_auth_cookie"),
            (format!("{plain}cookie_prefix = \"__Secure-\""), "cookie_prefix"),
            (format!("{url}cookie_prefix = \"__Host-\""), "cookie_prefix"),
            (format!("{url}cookie_prefix = \"a;b\""), "cookie_prefix"),
            (format!("{url}terminal_origins = [\"b.example\"]"), "terminal_origins"),
            (format!("{url}terminal_origins = [\"https://b.example/x\"]"), "terminal_origins"),
            ("deployment_name = \"a\\nb\"".to_owned(), "deployment_name"),
            ("deployment_logo = \"/no/such/file\"".to_owned(), "deployment_logo"),
            ("support_contact = \"javascript:x()\"".to_owned(), "support_contact"),
            ("proxy_trusted_origins = [\"10.0.0.0/40\"]".to_owned(), "proxy_trusted_origins"),
            ("proxy_trusted_headers = [\"not a header\"]".to_owned(), "proxy_trusted_headers"),
        ] {
            let error = apps(&toml).unwrap_err();
            assert!(error.starts_with(&format!("`{setting}`")), "{toml}: {error}");
        }
    }
}
