use std::error::Error;
use std::sync::Arc;

use crate::address::AgentInHost;
use crate::app::{AppRequest, WorkspaceFacts};
use crate::credential::{KeyHolder, SessionToken};
use crate::port::port;

/// Looks up the facts of an app request
///
/// One query, one round trip: an implementation over SQL runs a single statement, so that all
/// facts are of the same moment. Facts may come from a replica only if stale ones cannot grant
/// access: never the keys, nor which build is the newest.
///
/// A caller must not treat an error as a visitor who is not signed in.
pub trait Directory: Sync {
    /// Why the query failed
    type Error: Error + Send + Sync + 'static;

    /// Returns the workspace that the request names, and the holders of the keys with the
    /// tokens' ids
    ///
    /// Apps and port shares may be limited to those with the slug or the port of the request,
    /// and the agents of a terminal request to the one it names.
    fn app_access(
        &self,
        request: &AppRequest,
        tokens: &[SessionToken],
    ) -> impl Future<Output = Result<AppFacts, Self::Error>> + Send;
}

/// The facts of an app request, none of them verified
///
/// [`resolve`](crate::resolve) finds the target in the workspace, and
/// [`identify`](crate::credential::identify) the visitor among the holders. Both are shared
/// between requests that are answered together: a page makes many requests for one workspace
/// in one session.
///
/// Without a workspace and without holders by default, which lets no visitor in.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AppFacts {
    /// The workspace and what runs in it; `None` if no workspace has that name
    pub workspace: Option<Arc<WorkspaceFacts>>,
    /// The key and its holder for each token whose id is known, in any order
    pub holders: Vec<Arc<KeyHolder>>,
    /// How agents in hosts are read, by the release of the control plane
    pub agent_in_host: AgentInHost,
}

impl AppFacts {
    /// The same facts with this workspace
    #[must_use]
    pub fn with_workspace(mut self, workspace: impl Into<Arc<WorkspaceFacts>>) -> Self {
        self.workspace = Some(workspace.into());
        self
    }

    /// The same facts with these holders of the keys that tokens name
    #[must_use]
    pub fn with_holders<H: Into<Arc<KeyHolder>>>(
        mut self,
        holders: impl IntoIterator<Item = H>,
    ) -> Self {
        self.holders = holders.into_iter().map(Into::into).collect();
        self
    }

    /// The same facts for a control plane that reads agents in hosts this way
    #[must_use]
    pub const fn with_agent_in_host(mut self, rule: AgentInHost) -> Self {
        self.agent_in_host = rule;
        self
    }
}

port! {
    DynDirectory of Directory
    fn app_access as dyn_app_access([request: AppRequest, tokens: [SessionToken]]) -> AppFacts;
}
