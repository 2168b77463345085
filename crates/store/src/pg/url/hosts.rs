use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::{fmt, io};

use tokio::net::lookup_host;
use tokio_postgres::Config;

use super::invalid;
use crate::Error;
use crate::pg::cancel::Endpoint;

/// One server to try
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Host {
    name: Option<Name>,
    /// `hostaddr`: the address to connect to without resolving the name
    address: Option<IpAddr>,
    pub(super) port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Tcp(String),
    /// The folder of the Unix socket
    Socket(PathBuf),
}

impl Host {
    /// Pairs the entries of `host`, `hostaddr` and `port`, as libpq does
    pub(super) fn list(
        host: Option<&str>,
        address: Option<&str>,
        port: Option<&str>,
    ) -> Result<Vec<Self>, Error> {
        let entries = |list: Option<&str>| -> Vec<String> {
            list.map(|list| list.split(',').map(str::to_owned).collect()).unwrap_or_default()
        };
        let (hosts, addresses, ports) = (entries(host), entries(address), entries(port));
        let count = hosts.len().max(addresses.len());
        if count == 0 {
            return Err(invalid(
                "it names no host; expected `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`",
            ));
        }
        if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
            return Err(invalid(format_args!(
                "`host` has {} entries and `hostaddr` has {}",
                hosts.len(),
                addresses.len()
            )));
        }
        if ports.len() > 1 && ports.len() != count {
            return Err(invalid(format_args!(
                "`port` has {} entries for {count} hosts; expected one, or one for each",
                ports.len()
            )));
        }
        (0..count)
            .map(|index| {
                let port = ports.get(index).or_else(|| ports.first());
                Ok(Self {
                    name: hosts.get(index).map(|host| Name::parse(host)).transpose()?,
                    address: addresses
                        .get(index)
                        .map(|address| parse_address(address))
                        .transpose()?,
                    port: parse_port(port.map_or("", String::as_str))?,
                })
            })
            .collect()
    }

    /// The endpoints of the host; a name may have several addresses
    pub(in super::super) async fn endpoints(&self) -> io::Result<Vec<Endpoint>> {
        let name = match &self.name {
            Some(Name::Tcp(name)) => name.clone(),
            Some(Name::Socket(_)) => return Ok(vec![Endpoint::Socket(self.socket_path())]),
            None => String::new(),
        };
        let addresses = match self.address {
            Some(address) => vec![SocketAddr::new(address, self.port)],
            None => lookup_host((name.as_str(), self.port)).await?.collect(),
        };
        let at = |address| Endpoint::Tcp { address, name: name.clone() };
        Ok(addresses.into_iter().map(at).collect())
    }

    /// `config` for one endpoint of the host
    pub(in super::super) fn config(&self, config: &Config, endpoint: &Endpoint) -> Config {
        let mut config = config.clone();
        match (&self.name, endpoint) {
            (Some(Name::Socket(folder)), _) => {
                config.host_path(folder);
            }
            (_, Endpoint::Tcp { address, name }) => {
                if !name.is_empty() {
                    config.host(name);
                }
                config.hostaddr(address.ip());
            }
            (_, Endpoint::Socket(_)) => {}
        }
        config.port(self.port);
        config
    }

    fn socket_path(&self) -> PathBuf {
        match &self.name {
            Some(Name::Socket(folder)) => folder.join(format!(".s.PGSQL.{}", self.port)),
            _ => PathBuf::new(),
        }
    }

    /// Whether the host has a name for which a certificate could be valid
    pub(super) fn has_name(&self) -> bool {
        self.name.is_some()
    }

    /// The names of the host in a password file
    pub(super) fn names_in_passfile(&self) -> Vec<String> {
        match (&self.name, self.address) {
            (Some(Name::Tcp(name)), _) => vec![name.clone()],
            (Some(Name::Socket(folder)), _) => {
                vec![folder.display().to_string(), "localhost".to_owned()]
            }
            (None, Some(address)) => vec![address.to_string()],
            (None, None) => Vec::new(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match (&self.name, self.address) {
            (Some(Name::Tcp(name)), _) if name.contains(':') => write!(f, "[{name}]:{port}"),
            (Some(Name::Tcp(name)), _) => write!(f, "{name}:{port}"),
            (Some(Name::Socket(_)), _) => {
                write!(f, "{}", self.socket_path().display())
            }
            (None, Some(address)) => write!(f, "{}", SocketAddr::new(address, port)),
            (None, None) => write!(f, "port {port}"),
        }
    }
}

#[cfg(test)]
impl Host {
    pub(super) fn tcp(name: &str, port: u16) -> Self {
        Self { name: Some(Name::Tcp(name.to_owned())), address: None, port }
    }

    pub(super) fn socket(folder: &str) -> Self {
        Self { name: Some(Name::Socket(PathBuf::from(folder))), address: None, port: DEFAULT_PORT }
    }
}

impl Name {
    fn parse(text: &str) -> Result<Self, Error> {
        if text.starts_with('/') {
            return Ok(Self::Socket(PathBuf::from(text)));
        }
        let fault = match text {
            "" => "is empty",
            _ if text.starts_with('@') => "is an abstract socket, which is not supported",
            _ if text
                .contains(|c: char| c.is_whitespace() || c.is_control() || "/@?#".contains(c)) =>
            {
                "has a character that no host name has"
            }
            _ => return Ok(Self::Tcp(text.to_owned())),
        };
        Err(invalid(format_args!(
            "a `host` {fault}; expected a name, an address, or the folder of a socket"
        )))
    }
}

fn parse_address(text: &str) -> Result<IpAddr, Error> {
    text.parse().map_err(|_| invalid("`hostaddr` is not an IP address"))
}

/// A port; the default if the text is empty
fn parse_port(text: &str) -> Result<u16, Error> {
    if text.is_empty() {
        return Ok(DEFAULT_PORT);
    }
    // Not quoted in the error: it may be a piece of a password with a `/` that is not encoded.
    text.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
        invalid(
            "a port is not a number from 1 to 65535; \
             in a user or password, `/`, `?`, `#` and `@` are written `%2F`, `%3F`, `%23` and `%40`",
        )
    })
}

/// The kind of server whose session may be used: `target_session_attrs`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum SessionAttributes {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

impl SessionAttributes {
    pub(super) const NAMES: [(&'static str, Self); 6] = [
        ("any", Self::Any),
        ("read-write", Self::ReadWrite),
        ("read-only", Self::ReadOnly),
        ("primary", Self::Primary),
        ("standby", Self::Standby),
        ("prefer-standby", Self::PreferStandby),
    ];

    /// The requirements on the hosts, one round after another
    pub(in super::super) fn rounds(self) -> &'static [Self] {
        match self {
            Self::Any => &[Self::Any],
            Self::ReadWrite => &[Self::ReadWrite],
            Self::ReadOnly => &[Self::ReadOnly],
            Self::Primary => &[Self::Primary],
            Self::Standby => &[Self::Standby],
            Self::PreferStandby => &[Self::Standby, Self::Any],
        }
    }

    /// Why a server is not of the kind that is required; `None` if it is
    pub(in super::super) fn fault(
        self,
        is_standby: bool,
        is_read_only: bool,
    ) -> Option<&'static str> {
        match self {
            Self::Any | Self::PreferStandby => None,
            Self::ReadWrite => is_read_only.then_some("the session is read-only"),
            Self::ReadOnly => (!is_read_only).then_some("the session is not read-only"),
            Self::Primary => is_standby.then_some("the server is a standby"),
            Self::Standby => (!is_standby).then_some("the server is not a standby"),
        }
    }
}

const DEFAULT_PORT: u16 = 5432;
