use std::time::SystemTime;

use thiserror::Error;

use crate::{Candidate, MAX_CANDIDATES, Standing};

/// Selects the one live agent of an instance, by its name if `agent_name` is given
///
/// `candidates` must be in the order of [`Candidates::by_instance`]. The name is trimmed
/// of Unicode white space, and an empty name counts as not given. Names are compared
/// exactly, with case. If several live agents have the name, the newest is selected.
///
/// Of a candidate only the workspace, the name, the standing and the pin count.
///
/// Only live candidates count: stale and deleted ones are never selected and never
/// make a choice ambiguous. A machine that has lived through ten builds therefore signs
/// in like one that has just been created.
///
/// # Errors
///
/// Returns the first [`Denial`] that applies, in the order of its variants.
///
/// [`Candidates::by_instance`]: crate::Candidates::by_instance
pub fn select<'a, Id: PartialEq, Token>(
    candidates: &'a [Candidate<Id, Token>],
    agent_name: Option<&str>,
    rules: Rules,
) -> Result<&'a Candidate<Id, Token>, Denial> {
    let live: Vec<_> = candidates.iter().filter(|c| c.standing == Standing::Live).collect();

    let Some(newest) = live.first() else {
        let stale = candidates.iter().any(|c| c.standing == Standing::Stale);
        return Err(if stale && !rules.hide_stale { Denial::Stale } else { Denial::NotFound });
    };
    if live.len() > MAX_CANDIDATES {
        return Err(Denial::TooMany);
    }
    if !rules.allow_instance_shared_by_workspaces
        && live.iter().any(|c| c.workspace != newest.workspace)
    {
        return Err(Denial::SharedByWorkspaces);
    }

    let selected = match agent_name.map(str::trim).filter(|name| !name.is_empty()) {
        Some(name) => {
            live.iter().find(|c| c.name == name).copied().ok_or(Denial::NoAgentOfThatName)?
        }
        None if live.len() == 1 => newest,
        None => {
            let mut names: Vec<String> = live.iter().map(|c| c.name.clone()).collect();
            names.sort_unstable();
            return Err(Denial::Ambiguous { names });
        }
    };
    match rules.signed_at {
        Some(signed_at) if !is_admitted(signed_at, selected.pinned) => Err(Denial::Replayed),
        _ => Ok(selected),
    }
}

/// Whether a proof is as new as the pin, or newer
///
/// A proof as new as the pin is admitted, because an agent presents the same proof each time it
/// starts: a document of AWS stays the same until the instance is stopped. Without a pin nothing is
/// known of earlier proofs, so none is admitted.
fn is_admitted(signed_at: SystemTime, pinned: Option<SystemTime>) -> bool {
    pinned.is_some_and(|pinned| signed_at >= pinned)
}

/// How a deployment departs from the default decision
///
/// The default is strict, and distinguishes a stale instance from an unknown one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rules {
    /// Whether to select among the agents of *all* workspaces that claim the instance
    ///
    /// For sites that place several workspaces on one machine. On other sites it lets
    /// the owner of one workspace receive the token of another owner's agent, because
    /// clouds recycle instance ids.
    pub allow_instance_shared_by_workspaces: bool,
    /// Whether to return [`Denial::NotFound`] where only stale candidates exist
    ///
    /// Newer versions of the control plane soft-delete the agents of earlier builds and
    /// therefore answer "not found". Older ones answer "not the latest".
    pub hide_stale: bool,
    /// The moment that the cloud signed with the proof, where an older proof than the
    /// [pin](Candidate::pinned) is to be refused; `None` to ignore pins
    pub signed_at: Option<SystemTime>,
}

impl Rules {
    /// Returns the same rules with [`allow_instance_shared_by_workspaces`] as given
    ///
    /// [`allow_instance_shared_by_workspaces`]: Self::allow_instance_shared_by_workspaces
    #[must_use]
    pub const fn allow_instance_shared_by_workspaces(mut self, allow: bool) -> Self {
        self.allow_instance_shared_by_workspaces = allow;
        self
    }

    /// Returns the same rules with [`hide_stale`](Self::hide_stale) as given
    #[must_use]
    pub const fn hide_stale(mut self, hide: bool) -> Self {
        self.hide_stale = hide;
        self
    }

    /// Returns the same rules, which refuse a proof of this moment if the pin is newer
    ///
    /// Ask for the candidates of an instance that is
    /// [pinning](crate::ProvenInstance::pinning) the same moment.
    #[must_use]
    pub const fn refuse_replays(mut self, signed_at: SystemTime) -> Self {
        self.signed_at = Some(signed_at);
        self
    }
}

/// Why no agent was selected
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denial {
    /// No live agent carries the instance id
    #[error("no live agent carries this instance id")]
    NotFound,
    /// Agents carry the instance id, but all of them belong to earlier builds
    #[error("only agents of earlier builds carry this instance id")]
    Stale,
    /// More than [`MAX_CANDIDATES`] live agents carry the instance id
    #[error("more than {MAX_CANDIDATES} live agents carry this instance id")]
    TooMany,
    /// The newest builds of several workspaces claim the instance
    ///
    /// Clouds recycle ids, so one of the workspaces is out of date, and the rows do not
    /// show which. The denial names no agent, because the other workspace may belong to
    /// another owner.
    #[error("the newest builds of several workspaces claim this instance id")]
    SharedByWorkspaces,
    /// The instance has live agents, but none of the given name
    #[error("no live agent of this instance has that name")]
    NoAgentOfThatName,
    /// Several live agents carry the instance id, and no name was given
    #[error("several live agents carry this instance id: {}", names.join(", "))]
    Ambiguous {
        /// The agents' names in ascending order, each as often as it occurs
        names: Vec<String>,
    },
    /// A newer proof of the instance was presented in this build, or the pin is missing
    #[error("the instance has presented a newer proof in this build")]
    Replayed,
}
