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
