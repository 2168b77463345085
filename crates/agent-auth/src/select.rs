use thiserror::Error;

use crate::{Candidate, MAX_CANDIDATES, Standing};

/// Selects the one agent that `candidates` and the optional `agent_name` leave
///
/// `candidates` must be in the order of [`Candidates::by_instance`]. The name is
/// trimmed of Unicode white space; an empty one is no name. It is then compared
/// exactly, with case. Where several live agents bear the asked name, the newest
/// is selected.
///
/// Only live candidates count: stale and deleted ones are never selected and never
/// make a choice ambiguous, so a machine that lived through ten builds signs in
/// like one that has just been created.
///
/// # Errors
///
/// A [`Refusal`], the first that applies in the order of its variants.
///
/// [`Candidates::by_instance`]: crate::Candidates::by_instance
pub fn select<'a>(
    candidates: &'a [Candidate],
    agent_name: Option<&str>,
    rules: Rules,
) -> Result<&'a Candidate, Refusal> {
    let live: Vec<&Candidate> =
        candidates.iter().filter(|c| c.standing == Standing::Live).collect();

    let Some(newest) = live.first() else {
        let stale = candidates.iter().any(|c| c.standing == Standing::Stale);
        return Err(if stale && !rules.hide_stale { Refusal::Stale } else { Refusal::NotFound });
    };
    if live.len() > MAX_CANDIDATES {
        return Err(Refusal::TooMany);
    }
    if !rules.allow_instance_shared_by_workspaces
        && live.iter().any(|c| c.workspace != newest.workspace)
    {
        return Err(Refusal::SharedByWorkspaces);
    }

    match agent_name.map(str::trim).filter(|name| !name.is_empty()) {
        Some(name) => {
            live.iter().find(|c| c.name == name).copied().ok_or(Refusal::NoAgentOfThatName)
        }
        None if live.len() == 1 => Ok(newest),
        None => {
            let mut names: Vec<String> = live.iter().map(|c| c.name.clone()).collect();
            names.sort_unstable();
            Err(Refusal::Ambiguous { names })
        }
    }
}

/// How a deployment departs from the default decision
///
/// The default is the strict one, and tells a stale instance that it is stale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rules {
    /// Select by name among the agents of *all* workspaces that claim the instance
    ///
    /// For sites that really place several workspaces on one machine. Elsewhere it
    /// lets the owner of one workspace receive the token of another's agent once a
    /// cloud recycles an id.
    pub allow_instance_shared_by_workspaces: bool,
    /// Answer [`Refusal::NotFound`] where only stale candidates exist
    ///
    /// Newer versions of the control plane soft-delete the agents of earlier
    /// builds and so answer "not found"; older ones answer "not the latest".
    pub hide_stale: bool,
}

impl Rules {
    /// The same rules, with [`allow_instance_shared_by_workspaces`] as given
    ///
    /// [`allow_instance_shared_by_workspaces`]: Self::allow_instance_shared_by_workspaces
    #[must_use]
    pub const fn allow_instance_shared_by_workspaces(mut self, allow: bool) -> Self {
        self.allow_instance_shared_by_workspaces = allow;
        self
    }

    /// The same rules, with [`hide_stale`](Self::hide_stale) as given
    #[must_use]
    pub const fn hide_stale(mut self, hide: bool) -> Self {
        self.hide_stale = hide;
        self
    }
}

/// Why no agent was selected
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// No live agent carries the instance id
    #[error("no live agent carries this instance id")]
    NotFound,
    /// Agents carry the instance id, but all belong to earlier builds
    #[error("only agents of earlier builds carry this instance id")]
    Stale,
    /// More than [`MAX_CANDIDATES`] live agents carry the instance id
    #[error("more than {MAX_CANDIDATES} live agents carry this instance id")]
    TooMany,
    /// The newest builds of different workspaces claim the instance
    ///
    /// The clouds recycle ids, so one of them is out of date, and nothing here says
    /// which. The refusal names no agent: the other workspace may be another
    /// owner's.
    #[error("the newest builds of several workspaces claim this instance id")]
    SharedByWorkspaces,
    /// Live agents exist, none of them of the asked name
    #[error("no live agent of this instance has that name")]
    NoAgentOfThatName,
    /// Several live agents, and no name was given
    #[error("several live agents carry this instance id: {}", names.join(", "))]
    Ambiguous {
        /// Their names in ascending order, a name as often as it occurs
        names: Vec<String>,
    },
}
