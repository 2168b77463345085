use std::path::PathBuf;

use authd_server::ListenAddress;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use super::value::{entry, list};

/// The settings of where requests arrive
#[derive(Args, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Listening {
    /// Addresses to listen on, separated by commas, such as `[::]:8080` or `unix:/run/authd.sock`
    /// [default: 127.0.0.1:8080]
    #[serde(deserialize_with = "list")]
    #[arg(
        long,
        env = "AUTHD_LISTEN",
        value_name = "ADDR",
        value_delimiter = ',',
        value_parser = entry,
        help_heading = "Server"
    )]
    pub(super) listen: Option<Vec<String>>,
    /// Addresses for health and metrics alone; `--listen` then serves no metrics
    #[serde(deserialize_with = "list")]
    #[arg(
        long,
        env = "AUTHD_ADMIN_LISTEN",
        value_name = "ADDR",
        value_delimiter = ',',
        value_parser = entry,
        help_heading = "Server"
    )]
    pub(super) admin_listen: Option<Vec<String>>,
    /// Permissions of Unix sockets, in octal [default: 660]
    #[arg(long, env = "AUTHD_SOCKET_MODE", value_name = "MODE", help_heading = "Server")]
    pub(super) socket_mode: Option<String>,
    /// File of the server's certificate and its issuers, in PEM; TCP addresses of --listen then
    /// speak TLS
    #[arg(long, env = "AUTHD_TLS_CERT", value_name = "FILE", help_heading = "Server")]
    pub(super) tls_cert: Option<PathBuf>,
    /// File of the private key of --tls-cert, in PEM
    #[arg(long, env = "AUTHD_TLS_KEY", value_name = "FILE", help_heading = "Server")]
    pub(super) tls_key: Option<PathBuf>,
}

/// Where requests arrive
#[derive(Clone, Debug)]
pub(crate) struct ListenConfig {
    pub(crate) addresses: Vec<ListenAddress>,
    /// For health and metrics alone
    pub(crate) admin: Vec<ListenAddress>,
    /// The permissions of Unix sockets
    pub(crate) socket_mode: u32,
    pub(crate) tls: Option<TlsFiles>,
}

/// A certificate with its issuers, and its key
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Listening {
    pub(super) fn listen(self) -> Result<ListenConfig, ConfigError> {
        let tls = match (self.tls_cert, self.tls_key) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(ConfigError::setting("tls_cert", "needs `tls_key` beside it"));
            }
            (None, Some(_)) => {
                return Err(ConfigError::setting("tls_key", "needs `tls_cert` beside it"));
            }
        };
        let listen = self.listen.unwrap_or_else(|| vec![DEFAULT.to_owned()]);
        let addresses = addresses_of("listen", &listen)?;
        let admin = addresses_of("admin_listen", self.admin_listen.as_deref().unwrap_or_default())?;
        let mode = self.socket_mode.as_deref().map_or(Some(DEFAULT_MODE), |text| {
            u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777)
        });
        let problem = "is not permissions in octal, such as `660` or `600`";
        let socket_mode = mode.ok_or_else(|| ConfigError::setting("socket_mode", problem))?;
        Ok(ListenConfig { addresses, admin, socket_mode, tls })
    }
}

fn addresses_of(
    setting: &'static str,
    texts: &[String],
) -> Result<Vec<ListenAddress>, ConfigError> {
    let addresses = texts.iter().map(|text| {
        let text = text.trim();
        text.parse().map_err(|error| {
            ConfigError::setting(setting, format!("has `{text}`, which is {error}"))
        })
    });
    addresses.collect()
}

/// Not reachable from other machines unless an operator changes it
const DEFAULT: &str = "127.0.0.1:8080";

/// For the account of authd and its group, to which a proxy may belong
const DEFAULT_MODE: u32 = 0o660;
