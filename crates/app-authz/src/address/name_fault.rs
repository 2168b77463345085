use thiserror::Error as ThisError;

use super::AppName;
use super::host::is_name;
use crate::app::Port;

impl AppName {
    /// Why no browser can open the host of that name; `None` if one can
    ///
    /// The name need not be in lower case: hosts have no case. The pattern of app hosts is not
    /// part of the check, though a prefix before its first dot makes the label longer.
    #[must_use]
    pub fn fault(&self) -> Option<NameFault> {
        let Self { slug_or_port, agent, workspace, user, .. } = self;
        let is_port = slug_or_port.parse::<Port>().is_ok();
        let parts = [
            (NamePart::Slug, Some(slug_or_port)),
            (NamePart::Agent, agent.as_ref()),
            (NamePart::Workspace, Some(workspace)),
            (NamePart::User, Some(user)),
        ];
        let mut parts = parts.into_iter().filter_map(|(part, name)| Some((part, name?)));
        if let Some((part, name)) = parts.find(|(_, name)| !is_name(name)) {
            return Some(NameFault::NotInHost { part, name: name.clone() });
        }
        let label = self.to_string();
        match label.len() {
            // A host of a port, unlike that of an app, is meant to have a number there.
            _ if is_port && agent.is_none() => Some(NameFault::Port { slug: slug_or_port.clone() }),
            len if len > MAX_LABEL => Some(NameFault::TooLong { label, len }),
            _ => None,
        }
    }

    /// Why the app cannot be opened at the address that also names its agent, if that is the only
    /// address at which it cannot be opened
    ///
    /// Dashboards of some releases put the agent into their links. It then makes the label too long:
    /// any other fault of the agent's name is that of a host that is not needed.
    #[must_use]
    pub fn fault_with_agent(&self, agent: &str) -> Option<NameFault> {
        let fault = Self { agent: Some(agent.to_owned()), ..self.clone() }.fault();
        fault.filter(|fault| matches!(fault, NameFault::TooLong { .. }) && self.fault().is_none())
    }
}

/// Why an app or a port can never be opened in a browser
#[derive(Clone, Debug, ThisError, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameFault {
    /// A part of the name cannot be part of a host
    #[error(
        "the {} `{name}` cannot be part of a host: letters, digits, and single hyphens between \
         them can", part.as_str()
    )]
    NotInHost {
        /// Which part it is
        part: NamePart,
        /// The part as it is written
        name: String,
    },
    /// The name of an app is read as a port
    #[error("the slug `{slug}` is a number, so the address is read as that of a port")]
    Port {
        /// The slug
        slug: String,
    },
    /// The name is longer than DNS allows a label to be (RFC 1035, section 2.3.4)
    #[error("the host label `{label}` has {len} characters, and a label has {MAX_LABEL} at most")]
    TooLong {
        /// The whole label
        label: String,
        /// The length of the label
        len: usize,
    },
}

/// A part of the name of an app's host
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NamePart {
    /// The app's slug, or a port
    Slug,
    /// The agent's name
    Agent,
    /// The workspace's name
    Workspace,
    /// The user name of the workspace's owner
    User,
}

impl NamePart {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Slug => "slug",
            Self::Agent => "agent name",
            Self::Workspace => "workspace name",
            Self::User => "user name",
        }
    }
}

/// The most characters of a label in a host name
const MAX_LABEL: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(slug: &str, agent: Option<&str>) -> AppName {
        AppName {
            prefix: String::new(),
            slug_or_port: slug.to_owned(),
            agent: agent.map(str::to_owned),
            workspace: "dev".to_owned(),
            user: "alice".to_owned(),
        }
    }

    #[test]
    fn a_name_that_cannot_be_a_host_is_explained() {
        assert_eq!(name("Code", Some("main")).fault(), None);
        assert_eq!(name("8080", Some("main")).fault(), None);
        assert!(matches!(name("8080", None).fault(), Some(NameFault::Port { .. })));
        let long = "x".repeat(63 - "--dev--alice".len());
        assert_eq!(name(&long, None).fault(), None);
        assert!(matches!(
            name(&format!("{long}x"), None).fault(),
            Some(NameFault::TooLong { len: 64, .. })
        ));
        for bad in ["", "a b", "a_b", "a--b", "-a", "a-", "é"] {
            let fault = name(bad, None).fault();
            assert!(
                matches!(fault, Some(NameFault::NotInHost { part: NamePart::Slug, .. })),
                "{bad}: {fault:?}"
            );
        }
    }

    #[test]
    fn only_the_address_with_the_agent_can_be_too_long() {
        let app = name("code", None);
        assert_eq!(app.fault_with_agent("main"), None);
        assert_eq!(app.fault_with_agent("not_in_hosts"), None);
        let fault = app.fault_with_agent(&"a".repeat(63));
        assert!(matches!(fault, Some(NameFault::TooLong { .. })), "{fault:?}");
        assert_eq!(name("a_b", None).fault_with_agent(&"a".repeat(63)), None);
    }
}
