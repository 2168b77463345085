//! A control plane on axum where machines sign in as agents, over tables of its own (`tables.rs`)
//!
//! ```console
//! $ cargo run -p identity-fetch --example axum_sign_in
//! $ curl -H 'Content-Type: application/json' -d '{"document": "{}", "signature": ""}' \
//!     http://127.0.0.1:8080/api/v2/workspaceagents/aws-instance-identity
//! ```

#![expect(
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    reason = "a control plane is where the clock is read, and `map_err` passes errors by value"
)]

pub(crate) mod tables;

use std::sync::Arc;
use std::time::SystemTime;

use agent_auth::{Candidates, Denial, ProvenInstance, Rules, select};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use identity_fetch::{Identity, Online, Proof};
use identity_verify::{Cloud, Reason, Rejection};
use serde_json::{Value, json};

use self::tables::Agents;

type App = Arc<(Identity, Agents)>;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let online = Online::system(Arc::new(SystemTime::now));
    let app = routes(Identity::builtin().online(online), Agents::default());
    axum::serve(tokio::net::TcpListener::bind("127.0.0.1:8080").await?, app).await
}

pub(crate) fn routes(identity: Identity, agents: Agents) -> Router {
    Router::new()
        .route("/api/v2/workspaceagents/{kind}", post(sign_in))
        .layer(DefaultBodyLimit::max(64 * 1024))
        .with_state(Arc::new((identity, agents)))
}

async fn sign_in(
    State(app): State<App>,
    Path(kind): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let (identity, agents) = &*app;
    let cloud: Cloud = kind.trim_end_matches("-instance-identity").parse().map_err(bad)?;
    let field = |name: &str| body[name].as_str().map(|text| text.as_bytes().to_vec());
    let proof = Proof::from_fields(cloud, field).map_err(bad)?;
    let instance = identity.verify(&proof, SystemTime::now()).await.map_err(rejected)?;
    let proven = ProvenInstance::assume_verified(instance.id().as_str());
    let Ok(candidates) = agents.by_instance(proven).await;
    let agent = select(&candidates, body["agent_name"].as_str(), Rules::default());
    let agent = agent.map_err(denied)?;
    Ok(Json(json!({ "session_token": agent.token.reveal() })))
}

fn rejected(rejection: Rejection) -> (StatusCode, String) {
    let status = match rejection.reason() {
        Reason::KeysUnavailable | Reason::PinsUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        Reason::InvalidInstanceId => StatusCode::NOT_FOUND,
        _ => StatusCode::UNAUTHORIZED,
    };
    (status, rejection.reason().to_string())
}

fn denied(denial: Denial) -> (StatusCode, String) {
    let status = match denial {
        Denial::NotFound | Denial::NoAgentOfThatName => StatusCode::NOT_FOUND,
        Denial::Stale => StatusCode::BAD_REQUEST,
        _ => StatusCode::CONFLICT,
    };
    (status, denial.to_string())
}

fn bad(error: impl ToString) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, error.to_string())
}
