//! Agents sign in where the keys of their tables are not UUIDs

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use agent_auth::{
    AgentId, AgentToken, BuildId, Candidate, Candidates, CandidatesOf, ProvenInstance, Rules,
    Standing, WorkspaceId,
};
use app_audit::{ActFilter, ActLog, ActRow, Decision, Page};
use authd_http::{ActAudit, AgentKey, AgentPorts, Clock, Limits, Service};
use http::StatusCode;
use identity_fetch::Identity;
use identity_verify::test_util::at;
use identity_verify::test_util::google::Cloud;
use identity_verify::{Audience, Policy};
use store::MemoryStore;
use uuid::Uuid;

use crate::common::AUDIENCE;

mod common;

const NOW: &str = "2026-11-21T00:00:00Z";

/// A key of a host's own type
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key(String);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key-{}", self.0)
    }
}

impl AgentKey for Key {}

/// One machine, whose agent, build and workspace have these keys
struct Machine<I> {
    keys: [I; 3],
    is_live: bool,
}

impl<I: AgentKey + Clone + fmt::Debug + Eq + Send + Sync + 'static> Candidates for Machine<I> {
    type Id = I;
    type Token = String;
    type Error = Infallible;

    async fn by_instance(&self, _: ProvenInstance<'_>) -> Result<CandidatesOf<Self>, Infallible> {
        let [agent, build, workspace] = self.keys.clone();
        let standing = if self.is_live { Standing::Live } else { Standing::Stale };
        Ok(vec![Candidate::new(
            AgentId(agent),
            "main".to_owned(),
            AgentToken::new("the-token".to_owned()),
            BuildId(build),
            WorkspaceId(workspace),
            standing,
        )])
    }
}

/// The status and the body of a sign-in, and its row
async fn sign_in<I>(keys: [I; 3], is_live: bool) -> (StatusCode, String, ActRow)
where
    Machine<I>: AgentPorts,
{
    let cloud = Cloud::generate();
    let mut policy = Policy::default();
    policy.google_audience = Audience::Is(AUDIENCE.to_owned());
    let identity = Identity::with_policy(&policy).google_keys(cloud.jwks());
    let store = Arc::new(MemoryStore::default());
    let clock: Clock = Arc::new(|| at(NOW));
    let service = Service::new(Limits::default(), clock)
        .with_agents(Arc::new(Machine { keys, is_live }), identity, Rules::default())
        .with_act_audit(Arc::clone(&store), ActAudit::default());
    let (status, body) = common::sign_in(&service, &cloud, at(NOW)).await;
    service.drain_audit().await;
    let rows = store.list_acts(&ActFilter::default(), Page::first(10)).await.unwrap();
    (status, body, rows[0].clone())
}

#[tokio::test]
async fn keys_of_any_type_are_signed_in_with_and_audited() {
    let ids = [1, 2, 3].map(Uuid::from_u128);
    let (status, body, row) = sign_in(ids, true).await;
    assert_eq!((status, body.contains("the-token")), (StatusCode::OK, true), "{body}");
    assert_eq!((row.agent_id, row.workspace_id), (Some(ids[0]), Some(ids[2])));
    assert_eq!(row.detail["build"], ids[1].to_string());

    let of = ["1", "2", "3"].map(str::to_owned);
    for (row, expected) in [
        (sign_in([1_i64, 2, 3], true).await, of.clone()),
        (sign_in(of.clone(), true).await, of.clone()),
        (sign_in(of.clone().map(Key), true).await, of.map(|key| format!("key-{key}"))),
    ] {
        let (status, body, row) = row;
        assert_eq!((status, body.contains("the-token")), (StatusCode::OK, true), "{body}");
        assert_eq!((row.agent_id, row.workspace_id), (None, None));
        let detail = ["agent", "build", "workspace"].map(|name| row.detail[name].clone());
        assert_eq!(detail, expected);
    }

    let (status, body, row) = sign_in([1_i64, 2, 3], false).await;
    assert_eq!((status, row.decision), (StatusCode::BAD_REQUEST, Decision::Deny), "{body}");
}
