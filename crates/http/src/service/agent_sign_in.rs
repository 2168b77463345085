use std::sync::Arc;

use agent_auth::Rules;
use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use identity_fetch::Identity;
use identity_verify::Cloud;

use crate::acts::Acts;
use crate::agents::AgentService;
use crate::apps::OldPins;
use crate::body::Bounds;
use crate::context::{Body, Context};
use crate::error::Error;
use crate::ports::AgentPorts;
use crate::reply::Response;
use crate::routes::agent_sign_in;
pub(super) use crate::routes::agent_sign_in::Demands;

/// An [`AgentService`] over some table of candidates
pub(super) trait AgentSignIn: Send + Sync {
    /// Answers a request to sign in
    fn answer<'a>(
        &'a self,
        with: (&'a Acts, Demands<'a>),
        cloud: Cloud,
        cx: &'a Context<'_>,
        body: Body,
    ) -> BoxFuture<'a, Result<Response, Error>>;

    fn identity(&self) -> &ArcSwap<Identity>;

    fn rules(&self) -> Rules;

    /// The pins of the past
    fn old_pins(&self) -> Arc<dyn OldPins>;

    /// The limits of a body
    fn bounds(&self) -> Bounds;
}

impl<S> AgentSignIn for AgentService<S>
where
    S: AgentPorts,
{
    fn answer<'a>(
        &'a self,
        (acts, demands): (&'a Acts, Demands<'a>),
        cloud: Cloud,
        cx: &'a Context<'_>,
        body: Body,
    ) -> BoxFuture<'a, Result<Response, Error>> {
        Box::pin(agent_sign_in::sign_in(self, (acts, demands), cloud, cx, body))
    }

    fn identity(&self) -> &ArcSwap<Identity> {
        &self.identity
    }

    fn rules(&self) -> Rules {
        self.rules
    }

    fn old_pins(&self) -> Arc<dyn OldPins> {
        Arc::<S>::clone(&self.candidates)
    }

    fn bounds(&self) -> Bounds {
        self.bounds
    }
}
