use std::fmt;
use std::time::{Duration, SystemTime};

use crate::id::AgentId;

/// An agent of a workspace's newest build
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Agent {
    /// The agent's id
    pub id: AgentId,
    /// The agent's name, unique among the agents of a build
    pub name: String,
    /// When the agent connected and disconnected
    pub contact: Contact,
}

impl Agent {
    /// The agent with this id and name
    #[must_use]
    pub fn new(id: AgentId, name: impl Into<String>, contact: Contact) -> Self {
        Self { id, name: name.into(), contact }
    }
}

/// When an agent was created, connected and disconnected, as the database has it
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contact {
    /// When the agent was created
    pub created_at: SystemTime,
    /// When the agent first connected; `None` if it never did
    pub first_connected_at: Option<SystemTime>,
    /// When the agent was last seen connected
    pub last_connected_at: Option<SystemTime>,
    /// When the agent last disconnected
    pub disconnected_at: Option<SystemTime>,
    /// How long the agent may take to connect for the first time; zero for no limit
    pub connection_timeout: Duration,
}

impl Contact {
    /// An agent that was created then, has not connected yet, and may take any time to do so
    #[must_use]
    pub const fn new(created_at: SystemTime) -> Self {
        Self {
            created_at,
            first_connected_at: None,
            last_connected_at: None,
            disconnected_at: None,
            connection_timeout: Duration::ZERO,
        }
    }

    /// The same contact, of an agent that connected first and was last seen connected at these
    /// times; `None` if it never was
    #[must_use]
    pub fn with_connected(
        mut self,
        first: impl Into<Option<SystemTime>>,
        last: impl Into<Option<SystemTime>>,
    ) -> Self {
        (self.first_connected_at, self.last_connected_at) = (first.into(), last.into());
        self
    }

    /// The same contact, of an agent that last disconnected then; `None` if it never did
    #[must_use]
    pub fn with_disconnected(mut self, at: impl Into<Option<SystemTime>>) -> Self {
        self.disconnected_at = at.into();
        self
    }

    /// The same contact, of an agent that may take that long to connect for the first time; zero
    /// for no limit
    #[must_use]
    pub const fn with_connection_timeout(mut self, timeout: Duration) -> Self {
        self.connection_timeout = timeout;
        self
    }

    /// Whether the agent is connected at `now`
    ///
    /// `inactive_timeout` is how long a connected agent may go without a report:
    /// [`INACTIVE_TIMEOUT`] unless the deployment configures it. Whether the agent answers
    /// is not checked.
    #[must_use]
    pub fn status(&self, now: SystemTime, inactive_timeout: Duration) -> AgentStatus {
        let since = |time: SystemTime| now.duration_since(time).unwrap_or_default();
        if self.first_connected_at.is_none() {
            let timeout = self.connection_timeout;
            return match !timeout.is_zero() && since(self.created_at) > timeout {
                true => AgentStatus::Timeout,
                false => AgentStatus::Connecting,
            };
        }
        // A missing time counts as the earliest one. An agent that disconnected at the very
        // time at which it was last connected is disconnected.
        let last_connected = self.last_connected_at.unwrap_or(SystemTime::UNIX_EPOCH);
        if self.disconnected_at.is_some_and(|at| at >= last_connected)
            || since(last_connected) > inactive_timeout
        {
            return AgentStatus::Disconnected;
        }
        AgentStatus::Connected
    }
}

/// Whether an agent is connected
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AgentStatus {
    /// The agent is connected
    Connected,
    /// The agent has not connected yet, and still may
    Connecting,
    /// The agent was connected and no longer is
    Disconnected,
    /// The agent did not connect within its connection timeout
    Timeout,
}

impl fmt::Display for AgentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connected => "connected",
            Self::Connecting => "connecting",
            Self::Disconnected => "disconnected",
            Self::Timeout => "timeout",
        })
    }
}

/// How long a connected agent may go without a report, by default
///
/// Agents report every 15 seconds, so one report may be lost.
pub const INACTIVE_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    #[test]
    fn an_agent_is_connected_while_it_reports() {
        let status = |first, last, gone, now| {
            let contact = Contact::new(at(1000).unwrap())
                .with_connected(first, last)
                .with_disconnected(gone)
                .with_connection_timeout(Duration::from_secs(120));
            contact.status(at(now).unwrap(), INACTIVE_TIMEOUT)
        };
        assert_eq!(status(None, None, None, 1000), AgentStatus::Connecting);
        assert_eq!(status(None, None, None, 1120), AgentStatus::Connecting);
        assert_eq!(status(None, None, None, 1121), AgentStatus::Timeout);
        assert_eq!(status(at(1010), at(1020), None, 1050), AgentStatus::Connected);
        assert_eq!(status(at(1010), at(1020), None, 1051), AgentStatus::Disconnected);
        assert_eq!(status(at(1010), at(1020), at(1019), 1050), AgentStatus::Connected);
        assert_eq!(status(at(1010), at(1020), at(1020), 1021), AgentStatus::Disconnected);
        assert_eq!(status(at(1010), None, None, 1021), AgentStatus::Disconnected);

        let unlimited = Contact::new(at(0).unwrap());
        assert_eq!(unlimited.status(at(9999).unwrap(), INACTIVE_TIMEOUT), AgentStatus::Connecting);
    }
}
