use std::fmt;
use std::net::IpAddr;

use ring::digest::{Context, SHA256};
use uuid::Uuid;

use crate::Event;

/// Which visits belong together: a digest of visitor, device, app and outcome
///
/// The fields are agent, app, user, address, user agent, slug or port, and status, each
/// preceded by its length so that no two sets of fields make the same bytes. A digest
/// has one size whatever the visitor sent, so none can be too long or too strange to be
/// written down. Where a request led to no agent, the workspace stands for it: what is
/// stopped or missing in one says nothing about another.
///
/// Access method, host and path are no part of it, and neither is the credential.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// The key as it is stored
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn of(event: &Event) -> Self {
        let mut digest = Context::new(&SHA256);
        let mut field = |bytes: &[u8]| {
            // A length fits 64 bits on every machine there is.
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

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Reads the address of a client in any of its spellings
///
/// A zone is dropped, and so is a port: some gateways tell both, and every connection has
/// a port of its own. An IPv4 address in IPv6 clothes is undressed.
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

/// What precedes the port of `1.2.3.4:80` or stands in the brackets of `[::1]:80`
///
/// Nothing if there is a port that is none.
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
    let is_sound = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
    });
    is_sound.then_some(address)
}
