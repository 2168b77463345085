use std::borrow::Cow;
use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Event, Resource, time};

/// The row that is written when a session begins
///
/// All its texts can be stored: they are UTF-8 without NUL and have at most 256 characters.
/// It serializes to one flat object, with the time in RFC 3339.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Record {
    /// The id of the session that begins
    pub session: Uuid,
    /// When the request began
    #[serde(serialize_with = "time::serialize")]
    pub time: SystemTime,
    /// The visitor; the nil id if the visitor was not signed in
    pub user_id: Uuid,
    /// The workspace's organization; the nil id if the workspace was not found
    pub organization_id: Uuid,
    /// The workspace; the nil id if it was not found
    pub workspace_id: Uuid,
    /// The client's address in canonical form; `None` if it is unknown
    pub ip: Option<IpAddr>,
    /// The `User-Agent` header, cut to 256 characters; `None` if it was empty
    pub user_agent: Option<String>,
    /// `workspace_app` or `workspace_agent`
    pub resource_type: &'static str,
    /// The app's id or the agent's; the nil id if it was not found
    pub resource_id: Uuid,
    /// The app's slug or the agent's name
    pub resource_target: String,
    /// The name of the agent that runs the resource; `None` if it was not found
    ///
    /// Not part of the row, whose `resource_target` is the agent's name only for ports and
    /// terminals.
    #[serde(skip)]
    pub agent_name: Option<String>,
    /// Always `open`
    pub action: &'static str,
    /// The HTTP status of the answer
    pub status_code: u16,
    /// Whether the visit was allowed
    pub decision: Decision,
    /// Why the visit was denied; `None` if it was allowed
    pub reason: Option<Cow<'static, str>>,
    /// The request id that the server's log has
    pub request_id: Uuid,
    /// The names of workspace and owner, and other fields that have no column of their own
    pub additional_fields: Value,
}

impl Record {
    pub(crate) fn of(event: &Event, session: Uuid) -> Self {
        let (resource_type, resource_id, resource_target) = match (&event.resource, &event.agent) {
            (Resource::App(id, slug), _) => ("workspace_app", id.0, text(slug.as_bytes())),
            (Resource::Unknown(asked), _) => ("workspace_app", Uuid::nil(), text(asked.as_bytes())),
            (Resource::Port(_) | Resource::Terminal, Some((id, name))) => {
                ("workspace_agent", id.0, text(name.as_bytes()))
            }
            (Resource::Port(_) | Resource::Terminal, None) => {
                ("workspace_agent", Uuid::nil(), String::new())
            }
        };
        let workspace = event.workspace.as_ref();
        let mut additional_fields = json!({
            "workspace_name": workspace.map_or(String::new(), |w| text(w.name.as_bytes())),
            "workspace_owner": workspace.map_or(String::new(), |w| text(w.owner.as_bytes())),
            "workspace_id": workspace.map_or(Uuid::nil(), |w| w.id.0).to_string(),
            "build_number": "",
            "build_reason": "",
        });
        let slug_or_port = event.resource.slug_or_port();
        if !slug_or_port.is_empty() {
            additional_fields["slug_or_port"] = Value::String(text(slug_or_port.as_bytes()));
        }
        Self {
            session,
            time: event.time,
            user_id: event.user.map_or(Uuid::nil(), |user| user.0),
            organization_id: workspace.map_or(Uuid::nil(), |w| w.organization.0),
            workspace_id: workspace.map_or(Uuid::nil(), |w| w.id.0),
            ip: event.ip.map(|ip| ip.to_canonical()),
            user_agent: Some(text(&event.user_agent)).filter(|text| !text.is_empty()),
            resource_type,
            resource_id,
            resource_target,
            agent_name: event.agent.as_ref().map(|(_, name)| text(name.as_bytes())),
            action: "open",
            status_code: event.status,
            decision: if event.reason.is_some() { Decision::Deny } else { Decision::Allow },
            reason: event.reason.map(Cow::Borrowed),
            request_id: event.request,
            additional_fields,
        }
    }
}

/// Whether a visit was allowed
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The visit was allowed
    Allow,
    /// The visit was denied, for the reason that the row names
    Deny,
}

impl Decision {
    /// Returns the decision as rows and filters spell it
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }

    /// Returns the decision with this label; `None` for any other text
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        [Self::Allow, Self::Deny].into_iter().find(|decision| decision.as_str() == label)
    }
}

/// Makes text that can be stored of bytes that a visitor sent
pub(crate) fn text(bytes: &[u8]) -> String {
    // Nearly every text can be stored as it is, and copying is faster than reading its characters.
    if let Ok(text) = std::str::from_utf8(bytes)
        && text.len() <= MAX_TEXT
        && !bytes.contains(&0)
    {
        return text.to_owned();
    }
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c == '\0' { char::REPLACEMENT_CHARACTER } else { c })
        .take(MAX_TEXT)
        .collect()
}

/// The most characters of a text that a visitor sent: the width of the column for user
/// agents
pub(crate) const MAX_TEXT: usize = 256;
