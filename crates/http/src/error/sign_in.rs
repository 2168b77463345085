use std::borrow::Cow;
use std::collections::BTreeSet;

use agent_auth::{Candidate, Denial, Standing};
use http::StatusCode;
use identity_verify::{Cloud, Reason, Rejection};

use super::{TRY_AGAIN, chain, quote};
use crate::port_error::ErasedPortError;
use crate::reply::Problem;

/// Why an instance does not get the token of its agent
#[derive(Debug)]
pub(crate) enum SignInError {
    /// The proof does not verify
    InvalidIdentity { cloud: Cloud, rejection: Box<Rejection> },
    /// The proof is genuine, for an id that the cloud never gives to an instance
    ImpossibleInstance { instance_id: String, cloud: Cloud },
    /// The store failed to find the instance's agents
    Lookup { instance_id: String, cloud: Cloud, error: ErasedPortError },
    /// The sign-in must be recorded, and cannot be now
    Unrecorded { instance_id: String, cloud: Cloud },
    /// The instance is verified and may not sign in
    Denied(Box<SignInDenial>),
}

impl SignInError {
    pub(crate) fn problem(&self) -> Problem<'_> {
        match self {
            Self::InvalidIdentity { cloud, rejection } => {
                invalid_identity(rejection.reason(), *cloud).cause(chain(rejection.error()))
            }
            Self::ImpossibleInstance { instance_id, .. } => Problem::new(
                StatusCode::NOT_FOUND,
                "not_found",
                denial_message(instance_id, None, &Denial::NotFound),
                "The id is not one that this cloud gives to instances.",
            ),
            Self::Lookup { error, .. } if error.is_unavailable() => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "lookup_unavailable",
                LOOKUP_FAILED,
                TRY_AGAIN,
            )
            .cause(chain(error)),
            Self::Lookup { error, .. } => {
                Problem::internal("lookup_failed", LOOKUP_FAILED).cause(chain(error))
            }
            Self::Unrecorded { .. } => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unrecorded",
                "The sign-in cannot be recorded now.",
                TRY_AGAIN,
            ),
            Self::Denied(denial) => denial.problem(),
        }
    }

    pub(crate) fn machine(&self) -> Option<MachineFacts<'_>> {
        match self {
            Self::InvalidIdentity { cloud, rejection } => {
                Some(MachineFacts::of_rejection(rejection, *cloud))
            }
            Self::ImpossibleInstance { instance_id, cloud }
            | Self::Lookup { instance_id, cloud, .. }
            | Self::Unrecorded { instance_id, cloud } => {
                Some(MachineFacts::verified(instance_id, *cloud))
            }
            Self::Denied(denial) => Some(denial.machine()),
        }
    }
}

/// The decision that a verified instance may not sign in, with what the log says about it
#[derive(Debug)]
pub(crate) struct SignInDenial {
    pub(crate) instance_id: String,
    pub(crate) cloud: Cloud,
    pub(crate) agent_name: Option<String>,
    /// The candidates that the decision was made from, or the first of them
    pub(crate) candidates: Vec<Candidate<String, ()>>,
    /// Another text for the instance, under which agents are stored
    pub(crate) stored_as: Option<StoredAs>,
    pub(crate) denial: Denial,
}

/// A text that is not the id of an instance, and stands for it in the store
#[derive(Debug)]
pub(crate) struct StoredAs {
    pub(crate) id: String,
    /// What the text is, and what to store instead
    pub(crate) is: &'static str,
}

impl SignInDenial {
    fn problem(&self) -> Problem<'_> {
        let problem = match self.denial {
            Denial::Replayed => replayed(self.cloud),
            _ => denied(&self.denial, &self.instance_id, self.agent_name.as_deref()),
        };
        problem.cause(self.log_detail())
    }

    fn log_detail(&self) -> String {
        let Self { denial, candidates, stored_as, .. } = self;
        let rows: Vec<_> = candidates.iter().map(describe).collect();
        let detail = format!("{denial}; candidates: [{}]", rows.join(", "));
        match stored_as {
            Some(StoredAs { id, is }) => {
                format!("{detail}; agents are stored under {}, which is {is}", quote(id))
            }
            None if *denial == Denial::NotFound && candidates.is_empty() => {
                format!("{detail}; `authd check` prints stored ids that no cloud gives")
            }
            None => detail,
        }
    }

    fn machine(&self) -> MachineFacts<'_> {
        let facts = MachineFacts::verified(&self.instance_id, self.cloud);
        match self.denial {
            Denial::SharedByWorkspaces => MachineFacts {
                setting: Some("allow_instance_shared_by_workspaces"),
                value: Some(self.live_workspaces().into()),
                ..facts
            },
            Denial::Replayed => MachineFacts { setting: Some("identity_pins"), ..facts },
            _ => facts,
        }
    }

    fn live_workspaces(&self) -> String {
        let live = self.candidates.iter().filter(|c| c.standing == Standing::Live);
        let ids: BTreeSet<_> = live.map(|candidate| candidate.workspace.to_string()).collect();
        ids.into_iter().collect::<Vec<_>>().join(", ")
    }
}

/// What the log says about a machine that did not sign in: for operators, never for clients
#[derive(Clone, Debug, Default)]
pub(crate) struct MachineFacts<'a> {
    pub(crate) instance_id: Option<&'a str>,
    /// The id in a proof that did not verify
    pub(crate) instance_id_unverified: Option<&'a str>,
    pub(crate) cloud: Option<&'static str>,
    /// Whether the cloud signed these facts; unsigned ones may be forged
    pub(crate) verified: Option<bool>,
    /// The setting that rejected the machine
    pub(crate) setting: Option<&'static str>,
    /// The value that the setting does not allow
    pub(crate) value: Option<Cow<'a, str>>,
    /// Further claims of the proof
    pub(crate) claims: Option<String>,
}

impl<'a> MachineFacts<'a> {
    const fn verified(instance_id: &'a str, cloud: Cloud) -> Self {
        Self {
            instance_id: Some(instance_id),
            instance_id_unverified: None,
            cloud: Some(cloud.as_str()),
            verified: Some(true),
            setting: None,
            value: None,
            claims: None,
        }
    }

    fn of_rejection(rejection: &'a Rejection, cloud: Cloud) -> Self {
        let others = rejection.claimed().iter().filter(|(name, _)| *name != "instance_id");
        let claims: Vec<_> =
            others.map(|(name, value)| format!("{name}={}", quote(value))).collect();
        let (id, is_genuine) = (rejection.claimed().instance_id(), rejection.is_genuine());
        Self {
            instance_id: id.filter(|_| is_genuine),
            instance_id_unverified: id.filter(|_| !is_genuine),
            cloud: Some(cloud.as_str()),
            verified: Some(is_genuine),
            setting: rejection.denied().map(|denied| denied.setting()),
            value: rejection.denied().and_then(|denied| denied.value()).map(Cow::Borrowed),
            claims: (!claims.is_empty()).then(|| claims.join(" ")),
        }
    }
}

/// The answer to a verified instance that does not get an agent's token
pub(super) fn denied(
    denial: &Denial,
    instance_id: &str,
    agent_name: Option<&str>,
) -> Problem<'static> {
    let (status, class, detail) = match denial {
        Denial::NotFound => (
            StatusCode::NOT_FOUND,
            "not_found",
            "No agent of a newest, undeleted workspace build carries this id.",
        ),
        Denial::NoAgentOfThatName => (
            StatusCode::NOT_FOUND,
            "no_agent_of_that_name",
            "Names are compared exactly, with case.",
        ),
        Denial::Stale => (
            StatusCode::BAD_REQUEST,
            "stale",
            "Only the agents of a workspace's newest build may sign in. Rebuild the \
             workspace, or discard this instance.",
        ),
        Denial::Ambiguous { .. } => {
            (StatusCode::CONFLICT, "ambiguous", "Send one of these names as `agent_name`.")
        }
        Denial::SharedByWorkspaces => (
            StatusCode::CONFLICT,
            "shared_by_workspaces",
            "Cloud providers recycle ids. Delete or rebuild the workspace that no longer runs \
             on this instance.",
        ),
        Denial::TooMany => (
            StatusCode::CONFLICT,
            "too_many",
            "The database holds too many agents for one instance.",
        ),
        // An answer that names the cloud replaces this one.
        Denial::Replayed => {
            (StatusCode::UNAUTHORIZED, "replayed", "A newer proof was presented before.")
        }
        // A later denial: the instance is known, but not as one agent.
        _ => (
            StatusCode::CONFLICT,
            "refused",
            "No agent of a newest, undeleted workspace build carries this id.",
        ),
    };
    Problem::new(status, class, denial_message(instance_id, agent_name, denial), detail)
}

/// The answer to a machine whose proof does not verify
pub(super) fn invalid_identity(reason: Reason, cloud: Cloud) -> Problem<'static> {
    refused_proof("invalid_identity", reason, cloud)
}

fn refused_proof(class: &'static str, reason: Reason, cloud: Cloud) -> Problem<'static> {
    let (status, message) = match (reason, cloud) {
        (Reason::MalformedClaims, _) => (StatusCode::BAD_REQUEST, "Error decoding JWT claims."),
        // The machine is not at fault and should retry.
        (Reason::KeysUnavailable, _) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The keys to verify this proof with are not available.",
        ),
        (Reason::PinsUnavailable, _) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The earlier proofs to compare this one with are not available.",
        ),
        (_, Cloud::Aws) => (StatusCode::UNAUTHORIZED, "Invalid AWS identity."),
        (_, Cloud::Azure) => (StatusCode::UNAUTHORIZED, "Invalid Azure identity."),
        (_, Cloud::Google) => (StatusCode::UNAUTHORIZED, "Invalid GCP identity."),
    };
    Problem::new(status, class, message, reason.as_str())
}

/// The answer to a machine whose proof is older than one that it has presented before
fn replayed(cloud: Cloud) -> Problem<'static> {
    refused_proof("replayed", Reason::Replayed, cloud)
}

/// The sentences of the reference, which its agents show to their users
fn denial_message(instance_id: &str, agent_name: Option<&str>, denial: &Denial) -> String {
    let id = quote(instance_id);
    match denial {
        Denial::Ambiguous { names } => format!(
            "Multiple agents found with instance ID {id}. Set CODER_AGENT_NAME to one of: {}",
            names.join(", ")
        ),
        Denial::NoAgentOfThatName => format!(
            "No agent found with instance ID {id} and name {}.",
            quote(agent_name.unwrap_or_default().trim())
        ),
        Denial::SharedByWorkspaces => {
            format!("Instance with id {id} is claimed by more than one workspace.")
        }
        Denial::Stale => {
            format!("Resource found for id {id}, but isn't registered on the latest history.")
        }
        Denial::Replayed => format!("Instance with id {id} has presented a newer proof."),
        Denial::TooMany => format!("Too many agents found with instance ID {id}."),
        _ => format!("Instance with id {id} not found."),
    }
}

/// A candidate as the log shows it: which row, and whether it could be chosen
fn describe(candidate: &Candidate<String, ()>) -> String {
    let standing = match candidate.standing {
        Standing::Live => "live",
        Standing::Stale => "stale",
        Standing::Deleted => "workspace deleted",
    };
    let Candidate { agent, name, workspace, .. } = candidate;
    format!("{} {agent} of workspace {workspace}: {standing}", quote(name))
}

const LOOKUP_FAILED: &str = "Internal error fetching provisioner job agent.";
