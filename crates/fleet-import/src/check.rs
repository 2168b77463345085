//! Checks of values, so that a mistake is reported when it is imported and not to visitors

use app_authz::address::{HostPattern, HttpUrl};
use app_authz::rbac::RoleName;

use super::document::{App, Permission, Proxy};
use super::document_error::DocumentError;

impl App {
    /// An app that is reached through a proxy needs a valid address
    pub(crate) fn check(&self, path: &str) -> Result<(), DocumentError> {
        match self.url.as_deref() {
            Some(url) if !self.external && !url.is_empty() => HttpUrl::of_app(url)
                .map(drop)
                .map_err(|error| DocumentError::new(format!("{path}.url"), error)),
            _ => Ok(()),
        }
    }
}

impl Permission {
    pub(crate) fn check(&self, path: &str) -> Result<(), DocumentError> {
        for (field, text) in [("resource_type", &self.resource_type), ("action", &self.action)] {
            if text.is_empty() {
                return Err(DocumentError::new(format!("{path}.{field}"), "must not be empty"));
            }
        }
        Ok(())
    }
}

impl Proxy {
    /// The URL is empty until the proxy has registered one
    pub(crate) fn check(&self, path: &str) -> Result<(), DocumentError> {
        if !self.url.is_empty() {
            self.url
                .parse::<HttpUrl>()
                .map_err(|error| DocumentError::new(format!("{path}.url"), error))?;
        }
        if !self.wildcard_hostname.is_empty() {
            self.wildcard_hostname
                .parse::<HostPattern>()
                .map_err(|error| DocumentError::new(format!("{path}.wildcard_hostname"), error))?;
        }
        Ok(())
    }
}

/// Checks that these are well-formed names of roles: others would grant nothing
///
/// Does not check that the roles exist: they may be in the database only.
pub(crate) fn roles(path: &str, names: &[String]) -> Result<(), DocumentError> {
    for (n, name) in names.iter().enumerate() {
        role(&format!("{path}[{n}]"), name)?;
    }
    Ok(())
}

pub(crate) fn role(path: &str, name: &str) -> Result<(), DocumentError> {
    RoleName::site(name).map(drop).map_err(|error| DocumentError::new(path, error))
}
