use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ring::digest::{Context, SHA256};
use thiserror::Error;
use uuid::Uuid;

use crate::Event;

/// Identifies the visits that belong together: a digest of visitor, device, app and outcome
///
/// The digest covers agent, app, user, address, user agent, slug or port, and status. Each
/// field is preceded by its length, so that no two sets of fields make the same bytes. A
/// digest has a fixed size, so it can be stored no matter what the visitor sent. If a
/// request led to no agent, the workspace takes the agent's place, because the same slug
/// can be missing in several workspaces.
///
/// Access method, host, path and credential are not part of the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// Returns the key as it is stored
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) const fn from_bytes(key: [u8; 32]) -> Self {
        Self(key)
    }

    pub(crate) fn of(event: &Event) -> Self {
        let mut digest = Context::new(&SHA256);
        let mut field = |bytes: &[u8]| {
            // `usize` has at most 64 bits on every supported platform.
            digest.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(bytes);
        };
        let id = |id: Option<Uuid>| id.unwrap_or(Uuid::nil()).into_bytes();

        field(b"app audit session 1");
        let agent = event.agent.as_ref().map(|(agent, _)| agent.0);
        let place = agent.or_else(|| event.workspace.as_ref().map(|workspace| workspace.id.0));
        field(&id(place));
        field(&id(event.resource.app().map(|app| app.0)));
        field(&id(event.user.map(|user| user.0)));
        match event.ip.map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(ip)) => field(&ip.octets()),
            Some(IpAddr::V6(ip)) => field(&ip.octets()),
            None => field(&[]),
        }
        field(&event.user_agent);
        field(event.resource.slug_or_port().as_bytes());
        field(&event.status.to_be_bytes());

        let mut key = [0; 32];
        key.copy_from_slice(digest.finish().as_ref());
        Self(key)
    }
}

/// 64 lower-case hexadecimal digits, as `Debug` prints the key
impl FromStr for SessionKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        let mut key = [0; 32];
        let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 64 || !text.bytes().all(is_hex) {
            return Err(ParseKeyError);
        }
        for (n, byte) in key.iter_mut().enumerate() {
            let digits = text.get(2 * n..2 * n + 2).ok_or(ParseKeyError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| ParseKeyError)?;
        }
        Ok(Self(key))
    }
}

/// A text is not the key of a session
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a session key has 64 lower-case hexadecimal digits")]
pub struct ParseKeyError;

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Parses a client's address as proxies write it, with or without a port
///
/// The zone and the port are dropped: some gateways send them, and each connection has a
/// different port. IPv4-mapped IPv6 addresses are unmapped. Returns `None` if `text` is
/// not an address.
#[must_use]
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    let text = without_port(text)?;
    let address = match text.split_once('%') {
        Some((address, zone)) if !zone.is_empty() && address.contains(':') => address,
        Some(_) => return None,
        None => text,
    };
    address.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// Returns the address of `1.2.3.4:80` or `[::1]:80` without port and brackets
///
/// Returns `None` if the port is not a number from 0 to 65535.
fn without_port(text: &str) -> Option<&str> {
    let (address, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, port) = bracketed.split_once(']')?;
            let port = if port.is_empty() { None } else { Some(port.strip_prefix(':')?) };
            (address.contains(':').then_some(address)?, port)
        }
        None => match text.split_once(':') {
            Some((address, port)) if !port.contains(':') => (address, Some(port)),
            _ => (text, None),
        },
    };
    let is_valid = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
    });
    is_valid.then_some(address)
}
