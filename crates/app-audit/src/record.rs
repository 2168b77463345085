use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Event, Resource, time};

/// The row that is written down when a session begins
///
/// Every text in it can be stored: it is UTF-8 without NUL, and no longer than its
/// column. Serialized it is one flat object, with the time in RFC 3339.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// The session that begins
    pub session: Uuid,
    /// When the request began
    #[serde(serialize_with = "time::serialize")]
    pub time: SystemTime,
    /// Who asked; the nil id for nobody
    pub user_id: Uuid,
    /// The workspace's organization; the nil id if the request led nowhere
    pub organization_id: Uuid,
    /// The workspace; the nil id if the request led nowhere
    pub workspace_id: Uuid,
    /// The canonical address, where it is known
    pub ip: Option<IpAddr>,
    /// At most 256 characters; nothing if it was empty
    pub user_agent: Option<String>,
    /// `workspace_app` or `workspace_agent`
    pub resource_type: &'static str,
    /// The app's id or the agent's; the nil id if the request led nowhere
    pub resource_id: Uuid,
    /// The app's slug or the agent's name
    pub resource_target: String,
    /// The name of the agent it runs on; nothing if the request led nowhere
    ///
    /// Not a part of the row, whose `resource_target` is an agent's name only for what has no
    /// id of its own.
    #[serde(skip)]
    pub agent_name: Option<String>,
    /// `open`: what a visitor does
    pub action: &'static str,
    /// The status of the answer
    pub status_code: u16,
    /// Whether it was refused
    pub decision: Decision,
    /// Why it was refused
    pub reason: Option<&'static str>,
    /// The request, as the log knows it
    pub request_id: Uuid,
    /// The workspace by names, and what has no column of its own
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
            reason: event.reason,
            request_id: event.request,
            additional_fields,
        }
    }
}

/// What was decided about a visit
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The visitor was let in
    Allow,
    /// The visitor was refused, for the reason that stands beside this
    Deny,
}

impl Decision {
    /// The word for it, in rows and filters
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// What can be stored of bytes a visitor sent
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c == '\0' { char::REPLACEMENT_CHARACTER } else { c })
        .take(MAX_TEXT)
        .collect()
}

/// The most characters of a text that came from outside: the width of the column for
/// user agents
pub(crate) const MAX_TEXT: usize = 256;
