use std::error::Error;
use std::sync::Arc;

use crate::address::AgentInHost;
use crate::app::{AppRequest, WorkspaceFacts};
use crate::credential::{KeyHolder, SessionToken};

/// Answers what there is to know about an app request
///
/// One question, one round trip: an implementation over SQL issues a single statement,
/// so that the facts are of one moment. They may come from a replica only where its
/// staleness cannot grant access: never the keys, nor which build is the newest.
///
/// An error is an error: it is never to be taken for "nobody is signed in".
pub trait Directory: Sync {
    /// Why the question could not be answered
    type Error: Error + Send + Sync + 'static;

    /// The workspace the request names, and the holders of the keys with the tokens' ids
    ///
    /// Of the workspace's apps and port shares those suffice that have the slug or the port
    /// of the request, and of the agents of a terminal request the one it names.
    fn app_access(
        &self,
        request: &AppRequest,
        tokens: &[SessionToken],
    ) -> impl Future<Output = Result<AppFacts, Self::Error>> + Send;
}

/// The facts of an app request, none of them verified yet
///
/// [`resolve`](crate::resolve) finds the target in the workspace, and
/// [`identify`](crate::credential::identify) the visitor among the holders. Requests that are
/// answered together share what they have in common: the visitors of a page ask for the
/// same workspace, under the same session.
#[derive(Clone, Debug, Default)]
pub struct AppFacts {
    /// The workspace and what runs in it; nothing if the request names none
    pub workspace: Option<Arc<WorkspaceFacts>>,
    /// For each token whose id is known, the key and its holder, in any order
    pub holders: Vec<Arc<KeyHolder>>,
    /// Whose hosts name an agent, by the release of the control plane
    pub agent_in_host: AgentInHost,
}
