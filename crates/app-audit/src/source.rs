use std::net::{IpAddr, Ipv6Addr};

use crate::{AgentId, Event, UserId};

/// The visitor whose visits count together where they are bounded
///
/// A user, an agent that has signed in, or the network of a visitor who is not signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    User(UserId),
    Agent(AgentId),
    Network(Option<IpAddr>),
}

impl Source {
    /// Returns the source of visits by `user`, or from `ip` if the visitor is not signed in
    ///
    /// One visitor usually controls one address of IPv4, or a /64 network of IPv6.
    pub(crate) fn new(user: Option<UserId>, ip: Option<IpAddr>) -> Self {
        Self(match user {
            Some(user) => Kind::User(user),
            None => Kind::Network(ip.map(network)),
        })
    }

    /// Returns the source of sign-ins of an agent
    pub(crate) const fn agent(agent: AgentId) -> Self {
        Self(Kind::Agent(agent))
    }

    pub(crate) fn of(event: &Event) -> Self {
        Self::new(event.user, event.ip)
    }

    /// Returns whether the visitor is not signed in
    pub(crate) const fn is_anonymous(self) -> bool {
        matches!(self.0, Kind::Network(_))
    }
}

/// The source of visitors who are not signed in and whose address is unknown
pub(crate) const UNKNOWN: Source = Source(Kind::Network(None));

/// The network that one visitor usually controls
pub(crate) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        ip => ip,
    }
}
