//! A running server for a test: real HTTP, over any store

#![allow(dead_code, unreachable_pub, reason = "each test file uses some of these")]

pub mod command;
pub mod vectors;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use agent_auth::Rules;
use authd::{ServerLimits, serve};
use authd_http::{Freshness, Limits, Service};
use identity_fetch::Identity;
use identity_verify::test_util::aws::{Cloud, Document};
use identity_verify::{Policy, aws};
use serde_json::{Value, json};
use store::Store;
use testkit::net::{Answer, Client};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const SIGN_IN: &str = "/api/v2/workspaceagents/aws-instance-identity";
pub const REGION: &str = "test-region-1";
pub const ACCOUNT: &str = "123456789012";

/// A server on a loopback port, drained when it is stopped
pub struct Server {
    pub address: SocketAddr,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

/// The settings of a server that a test may change
pub struct Setup {
    pub identity: Identity,
    pub rules: Rules,
    pub freshness: Freshness,
    pub limits: Limits,
    pub server: ServerLimits,
    pub now: SystemTime,
}

impl Setup {
    /// Trusts `cloud` and the built-in keys, in the year 2026
    pub fn trusting(cloud: &Cloud) -> Self {
        let mut keys = aws::Keys::builtin();
        keys.add_pem(cloud.region(), cloud.public_key_pem().as_bytes()).unwrap();
        let verifier = aws::Verifier::new(keys, Policy::default());
        Self::with(Identity::builtin().aws(verifier))
    }

    pub fn with(identity: Identity) -> Self {
        Self {
            identity,
            rules: Rules::default(),
            freshness: Freshness::default(),
            limits: Limits::default(),
            server: ServerLimits::default(),
            now: identity_verify::test_util::at("2026-11-21T00:00:00Z"),
        }
    }

    pub fn rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    pub fn freshness(self, freshness: Freshness) -> Self {
        Self { freshness, ..self }
    }

    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    pub fn server(self, server: ServerLimits) -> Self {
        Self { server, ..self }
    }

    pub async fn start<S: Store + 'static>(self, store: S) -> Server {
        let now = self.now;
        let clock: authd_http::Clock = Arc::new(move || now);
        let store = Arc::new(store);
        let app = Service::over(&store, self.identity, self.rules, self.limits, clock)
            .with_freshness(Arc::clone(&store), &self.freshness);
        // As `authd serve` does before the first request, where there may be no keys yet either.
        let _ = app.maintain_keys(false).await;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, Arc::new(app), self.server, async {
            let _ = stopped.await;
        }));
        Server { address, client: Client::new(), stop: Some(stop), serving }
    }
}

impl Server {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.client.get(&self.url(path)).await.unwrap()
    }

    /// Posts a body to the sign-in route
    pub async fn post(&self, body: impl Into<String>) -> Answer {
        self.client.post_json(&self.url(SIGN_IN), body.into()).await.unwrap()
    }

    /// Posts a body to any route
    pub async fn post_to(&self, path: &str, body: impl Into<String>) -> Answer {
        self.client.post_json(&self.url(path), body.into()).await.unwrap()
    }

    /// Signs in like an instance of `cloud`
    pub async fn sign_in(&self, cloud: &Cloud, instance_id: &str, name: Option<&str>) -> Answer {
        self.post(proof(cloud, instance_id, name).to_string()).await
    }

    /// Tells the server to stop, without waiting for it
    pub fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    pub async fn stop(mut self) {
        self.begin_stop();
        self.serving.await.unwrap();
    }
}

/// The body that an instance of `cloud` posts
pub fn proof(cloud: &Cloud, instance_id: &str, name: Option<&str>) -> Value {
    let document =
        Document::new(instance_id, cloud.region(), ACCOUNT, "2026-11-20T00:00:00Z").to_json();
    signed(cloud, &document, name)
}

/// The body for any document
pub fn signed(cloud: &Cloud, document: &str, name: Option<&str>) -> Value {
    let mut body = json!({ "document": document, "signature": cloud.sign(document.as_bytes()) });
    if let Some(name) = name {
        body["agent_name"] = name.into();
    }
    body
}

/// Status and message, after checking that a refusal has the documented shape
pub fn status_and_message(answer: &Answer) -> (u16, String) {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|error| {
        panic!("{} is not JSON ({error}): {:?}", answer.status, answer.body)
    });
    let Value::Object(fields) = &body else { panic!("not an object: {body}") };
    if answer.status.is_success() {
        return (answer.status.as_u16(), body["session_token"].as_str().unwrap().to_owned());
    }
    for (field, value) in fields {
        match field.as_str() {
            "message" | "detail" => assert!(value.as_str().is_some_and(|text| !text.is_empty())),
            "validations" => {
                for validation in value.as_array().unwrap() {
                    assert!(validation["field"].is_string() && validation["detail"].is_string());
                }
            }
            other => panic!("undocumented field {other} in {body}"),
        }
    }
    (answer.status.as_u16(), body["message"].as_str().unwrap().to_owned())
}
