//! A host keeps its trust current while it serves: it swaps the identity, and Google's keys are
//! fetched

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agent_auth::Rules;
use authd_http::{Limits, Service};
use http::StatusCode;
use identity_fetch::{Clock, Identity, KeyCache, Online, System};
use identity_verify::test_util::google::Cloud;
use identity_verify::test_util::server::Server;
use identity_verify::{Audience, Policy};
use store::MemoryStore;

use crate::common::AUDIENCE;

mod common;

async fn sign_in(service: &Service, cloud: &Cloud) -> (StatusCode, String) {
    common::sign_in(service, cloud, now()).await
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000)
}

#[tokio::test]
async fn google_keys_are_fetched_and_kept_when_the_identity_is_swapped() {
    let (google, server) = (Cloud::generate_bits("first", 2048), Server::start());
    server.serve_jwks("/certs", &google, 3_600);
    let fetched = || server.requests().iter().filter(|request| request.path == "/certs").count();

    let clock: Clock = Arc::new(now);
    let (rules, limits) = (Rules::default(), Limits::default());
    let store = Arc::new(MemoryStore::default());
    let service = Service::over(&store, Identity::builtin(), rules, limits, Arc::clone(&clock));
    // Nothing says where to fetch from yet.
    assert_eq!(sign_in(&service, &google).await.0, StatusCode::SERVICE_UNAVAILABLE);

    let keys = KeyCache::fetching(server.url("/certs").parse().unwrap(), Arc::new(System), clock);
    let online = Online::new(Some(keys), None);
    service.set_identity(Identity::builtin().online(online));
    let (status, body) = sign_in(&service, &google).await;
    assert_eq!((status, fetched()), (StatusCode::UNAUTHORIZED, 1), "another audience: {body}");

    // A new policy, and the same fetchers.
    let swapped = |policy: Policy| {
        let former = service.identity().unwrap();
        service.set_identity(Identity::with_policy(&policy).online(former.fetchers().clone()));
    };
    let policy = || {
        let mut policy = Policy::default();
        policy.google_audience = Audience::Is(AUDIENCE.to_owned());
        policy
    };
    swapped(policy());
    let (status, body) = sign_in(&service, &google).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "verified, without an agent: {body}");
    assert_eq!(fetched(), 1);

    // Google replaces its keys. An unknown key is a reason to fetch, once a minute.
    let replaced = Cloud::generate_bits("second", 2048);
    server.serve_jwks("/certs", &replaced, 3_600);
    swapped(policy());
    assert_eq!(sign_in(&service, &replaced).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(fetched(), 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    assert_eq!(sign_in(&service, &replaced).await.0, StatusCode::NOT_FOUND);
    assert_eq!(fetched(), 2);
    let metrics = service.metrics_text(authd_http::Exposition::Text).await.unwrap();
    let metrics = std::str::from_utf8(&metrics).unwrap();
    assert!(metrics.lines().any(|line| line == "authd_google_keys 1"), "{metrics}");
}
