//! Database URLs, with the parameters of libpq and lib/pq that authd supports

mod hosts;
mod parameters;
mod passfile;
mod settings;
#[cfg(test)]
mod tests;
mod text;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;

pub(super) use self::hosts::{Host, SessionAttributes};
use self::parameters::Given;
pub(super) use self::settings::to_options;
use super::tls::Security;
use crate::Error;

/// A parsed database URL, or list of `NAME=VALUE`
///
/// `Debug` prints neither passwords nor values of settings.
#[derive(Clone, Debug)]
pub(super) struct DatabaseUrl {
    /// What tokio-postgres handles itself, without hosts, settings and TLS
    pub(super) config: Config,
    /// The hosts, of which there is at least one
    pub(super) hosts: Vec<Host>,
    /// Whether the hosts are tried in random order: `load_balance_hosts=random`
    pub(super) random_order: bool,
    pub(super) session: SessionAttributes,
    pub(super) security: Security,
    /// The file from which the password is read whenever a connection is opened
    pub(super) passfile: Option<PathBuf>,
    /// The settings that the server is asked for in each session
    pub(super) settings: Settings,
    /// The longest that connecting to one host may take
    pub(super) connect_timeout: Option<Duration>,
    /// The longest that the server may work on one statement
    pub(super) statement_timeout: Option<Duration>,
    /// Whether the URL sets `tcp_user_timeout`, which otherwise authd does
    pub(super) tcp_user_timeout: bool,
}

impl DatabaseUrl {
    /// Parses a URL
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUrl`], which names the parameter and never quotes a secret.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        Given::of(text).and_then(Given::understand).map_err(|error| {
            if text::has_stray_at(text) { invalid(text::ENCODE_PASSWORD) } else { error }
        })
    }

    /// The servers and the database, without user and password
    pub(super) fn describe(&self) -> String {
        let user = self.config.get_user().unwrap_or_default();
        let database = self.config.get_dbname().unwrap_or(user);
        let hosts: Vec<String> = self.hosts.iter().map(Host::to_string).collect();
        match hosts.iter().any(|host| host.starts_with('/')) {
            true => format!("{database} at {}", hosts.join(", ")),
            false => format!("postgres://{}/{database}", hosts.join(",")),
        }
    }

    /// The password for `host`, if there is one; reads the passfile
    pub(super) fn password(&self, host: &Host) -> Result<Option<Secret>, Error> {
        if let Some(password) = self.config.get_password() {
            return Ok(Some(Secret(String::from_utf8_lossy(password).into_owned())));
        }
        let Some(file) = &self.passfile else { return Ok(None) };
        let user = self.config.get_user().unwrap_or_default();
        let database = self.config.get_dbname().unwrap_or(user);
        passfile::password(file, host, database, user).map(Some)
    }
}

/// Run-time parameters of the server, in the order in which they are set
///
/// `Debug` prints names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Settings(pub(super) Vec<(String, String)>);

impl Settings {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The names, each in back-ticks
    pub(super) fn names(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|(name, _)| format!("`{name}`")).collect();
        names.join(", ")
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// A text that `Debug` does not print
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

fn invalid(reason: impl fmt::Display) -> Error {
    Error::InvalidUrl { reason: reason.to_string() }
}
