//! Keys for those who verify app tokens themselves

use app_authz::token::{EddsaPublicKey, Hs512Key, KeyRing, LEEWAY};
use authd::Signing;
use hyper::StatusCode;
use serde_json::Value;

use crate::world::{Plan, World, by_path, header, text};

const KEYS: &str = "/api/v2/workspaceproxies/me/crypto-keys";
const JWKS: &str = "/api/v2/workspaceproxies/jwks.json";

async fn keys(world: &World, feature: &str) -> authd::client::Answer {
    let proxy = world.proxy.reveal();
    let path = format!("{KEYS}?feature={feature}");
    world.send("GET", &path, &[("coder-external-proxy-token", &*proxy)], "").await
}

async fn token(world: &World) -> String {
    let visit = by_path("alice", "dev", "agent", "owner", world.token("alice"));
    let answer = world.issue(visit).await;
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    body["signed_token_str"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_proxy_verifies_with_the_keys_it_fetches() {
    let plan = Plan::new();
    let now = plan.now;
    let world = plan.serve().await;
    let answer = keys(&world, "workspace_apps_token").await;
    assert_eq!(answer.status, StatusCode::OK);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let [key] = &body["crypto_keys"].as_array().unwrap()[..] else { panic!("{body}") };
    assert_eq!(key["feature"], "workspace_apps_token");
    assert_eq!(key["deletes_at"], Value::Null);
    let secret = key["secret"].as_str().unwrap();
    assert_eq!(secret.len(), 128);
    let row = app_authz::token::CryptoKey {
        feature: app_authz::token::Feature::WorkspaceAppsToken,
        sequence: i32::try_from(key["sequence"].as_i64().unwrap()).unwrap(),
        secret: Some(app_authz::token::Secret::from_hex(secret).unwrap()),
        starts_at: now,
        deletes_at: None,
    };
    let ring = KeyRing::<Hs512Key>::new(&[row]).unwrap();
    ring.verify(&token(&world).await, now, LEEWAY).unwrap();

    let seals = keys(&world, "workspace_apps_api_key").await;
    assert_eq!(seals.status, StatusCode::OK);
    for other in ["oidc_convert", "tailnet_resume", "", "workspace_apps"] {
        assert_eq!(keys(&world, other).await.status, StatusCode::BAD_REQUEST, "{other}");
    }
    assert_eq!(world.send("GET", JWKS, &[], "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn under_eddsa_anybody_verifies_and_no_secret_leaves() {
    let mut plan = Plan::new();
    plan.config.signing = Signing::Eddsa;
    let now = plan.now;
    let world = plan.serve().await;
    let answer = world.send("GET", JWKS, &[], "").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(header(&answer, "content-type"), "application/jwk-set+json");
    let ring = KeyRing::<EddsaPublicKey>::from_jwks(&text(&answer)).unwrap();
    ring.verify(&token(&world).await, now, LEEWAY).unwrap();
    let refused = keys(&world, "workspace_apps_token").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(text(&refused).contains("jwks.json"));
    assert_eq!(keys(&world, "workspace_apps_api_key").await.status, StatusCode::OK);
}
