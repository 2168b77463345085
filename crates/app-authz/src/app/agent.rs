use std::fmt;
use std::time::{Duration, SystemTime};

use crate::id::AgentId;

/// An agent of a workspace's newest build
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its id
    pub id: AgentId,
    /// Its name, unique among the agents of a build
    pub name: String,
    /// When it was last heard of
    pub contact: Contact,
}

/// When an agent was created and heard of, as the database has it
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contact {
    /// When it was created
    pub created_at: SystemTime,
    /// When it first connected; never, if it did not
    pub first_connected_at: Option<SystemTime>,
    /// When it was last connected
    pub last_connected_at: Option<SystemTime>,
    /// When it last disconnected
    pub disconnected_at: Option<SystemTime>,
    /// How long it may take to connect for the first time; zero for any time
    pub connection_timeout: Duration,
}

impl Contact {
    /// Whether the agent can be reached at `now`
    ///
    /// `inactive_timeout` is how long a connected agent may be silent:
    /// [`INACTIVE_TIMEOUT`] unless the deployment says otherwise.
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
        // Missing times are the beginning of time. An agent that disconnected the moment
        // it was last connected is disconnected.
        let last_connected = self.last_connected_at.unwrap_or(SystemTime::UNIX_EPOCH);
        if self.disconnected_at.is_some_and(|at| at >= last_connected)
            || since(last_connected) > inactive_timeout
        {
            return AgentStatus::Disconnected;
        }
        AgentStatus::Connected
    }
}

/// Whether an agent can be reached
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AgentStatus {
    /// It can
    Connected,
    /// It has not connected yet
    Connecting,
    /// It was, and is no longer
    Disconnected,
    /// It should have connected by now
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

/// How long an agent may be silent: it reports every 15 seconds, and may miss one report
pub const INACTIVE_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    #[test]
    fn an_agent_is_connected_as_long_as_it_reports() {
        let status = |first, last, gone, now| {
            let contact = Contact {
                created_at: at(1000).unwrap(),
                first_connected_at: first,
                last_connected_at: last,
                disconnected_at: gone,
                connection_timeout: Duration::from_secs(120),
            };
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

        let patient = Contact {
            created_at: at(0).unwrap(),
            first_connected_at: None,
            last_connected_at: None,
            disconnected_at: None,
            connection_timeout: Duration::ZERO,
        };
        assert_eq!(patient.status(at(9999).unwrap(), INACTIVE_TIMEOUT), AgentStatus::Connecting);
    }
}
