use agent_auth::{Candidate, Denial as Refusal, Standing};
use identity_verify::{Cloud, Reason, Rejection};

use crate::quote::quote;

/// A verified instance that may not sign in
#[derive(Debug)]
pub(crate) struct RefusedInstance {
    pub(crate) instance_id: String,
    pub(crate) cloud: Cloud,
    pub(crate) agent_name: Option<String>,
    /// Those it was refused with, for the log
    pub(crate) candidates: Vec<Candidate>,
    /// Another spelling of the id, under which agents are stored
    pub(crate) stored_as: Option<String>,
    pub(crate) refusal: Refusal,
}

impl RefusedInstance {
    pub(super) fn message(&self) -> String {
        refusal_message(&self.instance_id, self.agent_name.as_deref(), &self.refusal)
    }

    pub(super) const fn detail(&self) -> &'static str {
        match self.refusal {
            Refusal::Ambiguous { .. } => "Send one of these names as `agent_name`.",
            Refusal::NoAgentOfThatName => "Names are compared exactly, with case.",
            Refusal::SharedByWorkspaces => {
                "Cloud providers recycle ids. Delete or rebuild the workspace that no longer runs \
                 on this instance."
            }
            Refusal::Stale => {
                "Only the agents of a workspace's newest build may sign in. Rebuild the workspace, \
                 or discard this instance."
            }
            Refusal::TooMany => "The database holds too many agents for one instance.",
            _ => "No agent of a newest, undeleted workspace build carries this id.",
        }
    }

    pub(super) fn log_detail(&self) -> String {
        let Self { refusal, candidates, stored_as, .. } = self;
        let rows: Vec<_> = candidates.iter().map(describe).collect();
        let detail = format!("{refusal}; candidates: [{}]", rows.join(", "));
        match stored_as {
            Some(id) => format!(
                "{detail}; agents are stored under {}, which is this id in the firmware's order of \
                 bytes: let the template record the id of the metadata service",
                quote(id)
            ),
            None => detail,
        }
    }

    pub(super) fn machine(&self) -> MachineFacts<'_> {
        let setting = match self.refusal {
            Refusal::SharedByWorkspaces => Some("allow_instance_shared_by_workspaces"),
            _ => None,
        };
        MachineFacts { setting, ..MachineFacts::verified(&self.instance_id, self.cloud) }
    }
}

/// What the log says of a machine that was refused: for operators, never for clients
#[derive(Clone, Debug, Default)]
pub(crate) struct MachineFacts<'a> {
    pub(crate) instance_id: Option<&'a str>,
    pub(crate) cloud: Option<&'static str>,
    /// Whether the cloud signed these facts; unsigned ones may be forged
    pub(crate) verified: Option<bool>,
    /// The setting that refused it
    pub(crate) setting: Option<&'static str>,
    /// The value that the setting does not allow
    pub(crate) value: Option<&'a str>,
    /// What else the proof says
    pub(crate) claims: Option<String>,
}

impl<'a> MachineFacts<'a> {
    pub(super) const fn verified(instance_id: &'a str, cloud: Cloud) -> Self {
        Self {
            instance_id: Some(instance_id),
            cloud: Some(cloud.as_str()),
            verified: Some(true),
            setting: None,
            value: None,
            claims: None,
        }
    }

    pub(super) fn of_rejection(rejection: &'a Rejection, cloud: Cloud) -> Self {
        let others = rejection.claimed().iter().filter(|(name, _)| *name != "instance_id");
        let claims: Vec<_> =
            others.map(|(name, value)| format!("{name}={}", quote(value))).collect();
        Self {
            instance_id: rejection.claimed().instance_id(),
            cloud: Some(cloud.as_str()),
            verified: Some(rejection.is_genuine()),
            setting: rejection.denied().map(|denied| denied.setting()),
            value: rejection.denied().and_then(|denied| denied.value()),
            claims: (!claims.is_empty()).then(|| claims.join(" ")),
        }
    }
}

pub(super) const fn invalid_identity_message(cloud: Cloud, reason: Reason) -> &'static str {
    match (reason, cloud) {
        (Reason::MalformedClaims, _) => "Error decoding JWT claims.",
        (Reason::KeysUnavailable, _) => "The keys to verify this proof with are not available.",
        (_, Cloud::Aws) => "Invalid AWS identity.",
        (_, Cloud::Azure) => "Invalid Azure identity.",
        (_, Cloud::Google) => "Invalid GCP identity.",
    }
}

/// The sentences of the reference, which its agents show to their users
pub(super) fn refusal_message(
    instance_id: &str,
    agent_name: Option<&str>,
    refusal: &Refusal,
) -> String {
    let id = quote(instance_id);
    match refusal {
        Refusal::Ambiguous { names } => format!(
            "Multiple agents found with instance ID {id}. Set CODER_AGENT_NAME to one of: {}",
            names.join(", ")
        ),
        Refusal::NoAgentOfThatName => format!(
            "No agent found with instance ID {id} and name {}.",
            quote(agent_name.unwrap_or_default().trim())
        ),
        Refusal::SharedByWorkspaces => {
            format!("Instance with id {id} is claimed by more than one workspace.")
        }
        Refusal::Stale => {
            format!("Resource found for id {id}, but isn't registered on the latest history.")
        }
        Refusal::TooMany => format!("Too many agents found with instance ID {id}."),
        _ => format!("Instance with id {id} not found."),
    }
}

/// A candidate as the log shows it: which row, and why it was no choice
fn describe(candidate: &Candidate) -> String {
    let standing = match candidate.standing {
        Standing::Live => "live",
        Standing::Stale => "stale",
        Standing::Deleted => "workspace deleted",
    };
    let Candidate { agent, name, workspace, .. } = candidate;
    format!("{} {agent} of workspace {workspace}: {standing}", quote(name))
}
