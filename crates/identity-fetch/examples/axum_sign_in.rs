//! A control plane on axum where machines sign in as agents, over tables of its own
//!
//! ```console
//! $ cargo run -p identity-fetch --example axum_sign_in
//! $ curl -H 'Content-Type: application/json' -d '{"document": "{}", "signature": ""}' \
//!     http://127.0.0.1:8080/api/v2/workspaceagents/aws-instance-identity
//! ```

#![expect(clippy::disallowed_methods, reason = "a control plane is where the clock is read")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;

use agent_auth::{
    AgentId, AgentToken, BuildId, Candidate, Candidates, CandidatesOf, Denial, ProvenInstance,
    Rules, Standing, WorkspaceId, select,
};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use identity_fetch::{Identity, IssuerFetcher, KeyCache, KeyUrl, Online, Proof, System};
use identity_verify::Reason;
use serde_json::{Value, json};

type App = Arc<(Identity, Agents)>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (network, clock) = (Arc::new(System), Arc::new(SystemTime::now));
    let keys = KeyCache::fetching(KeyUrl::GOOGLE.parse::<KeyUrl>()?, network.clone(), clock);
    let online = Online::new(Some(keys), Some(IssuerFetcher::new(network)));
    let app = routes(Identity::builtin().online(online), Agents::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    Ok(axum::serve(listener, app).await?)
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
    let field = |name: &str| body[name].as_str().map(|text| text.as_bytes().to_vec());
    let proof = match (&*kind, field("signature"), field("pkcs7"), field("json_web_token")) {
        ("aws-instance-identity", _, Some(pkcs7), _) => {
            Proof::AwsPkcs7 { pkcs7, document: field("document") }
        }
        ("aws-instance-identity", Some(signature), ..) => {
            Proof::AwsDocument { document: field("document").unwrap_or_default(), signature }
        }
        ("azure-instance-identity", Some(signature), ..) => Proof::Azure { signature },
        ("google-instance-identity", .., Some(token)) => Proof::Google { token },
        _ => return Err((StatusCode::BAD_REQUEST, "a field is missing".to_owned())),
    };
    let verified = identity.verify(&proof, SystemTime::now()).await;
    let instance = verified.map_err(|rejection| rejected(rejection.reason()))?;
    let proven = ProvenInstance::assume_verified(instance.id().as_str());
    let Ok(candidates) = agents.by_instance(proven).await;
    let agent = select(&candidates, body["agent_name"].as_str(), Rules::default());
    let agent = agent.map_err(denied)?;
    Ok(Json(json!({ "session_token": agent.token.reveal() })))
}

fn rejected(reason: Reason) -> (StatusCode, String) {
    let status = match reason {
        Reason::KeysUnavailable | Reason::PinsUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        Reason::InvalidInstanceId => StatusCode::NOT_FOUND,
        Reason::MalformedClaims => StatusCode::BAD_REQUEST,
        _ => StatusCode::UNAUTHORIZED,
    };
    (status, reason.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "the argument of `map_err`")]
fn denied(denial: Denial) -> (StatusCode, String) {
    let status = match denial {
        Denial::NotFound | Denial::NoAgentOfThatName => StatusCode::NOT_FOUND,
        Denial::Stale => StatusCode::BAD_REQUEST,
        _ => StatusCode::CONFLICT,
    };
    (status, denial.to_string())
}

// The control plane's tables, with keys that are numbers and tokens that are texts.

/// One row for each agent; with SQL, the answer of one statement
#[derive(Clone, Debug, Default)]
pub(crate) struct Agents(pub(crate) Vec<AgentRow>);

#[derive(Clone, Debug)]
pub(crate) struct AgentRow {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) instance: String,
    pub(crate) token: String,
    pub(crate) build: i64,
    pub(crate) workspace: i64,
    pub(crate) standing: Standing,
    pub(crate) created_at: SystemTime,
}

impl Candidates for Agents {
    type Id = i64;
    type Token = String;
    type Error = Infallible;

    async fn by_instance(
        &self,
        instance: ProvenInstance<'_>,
    ) -> Result<CandidatesOf<Self>, Infallible> {
        let texts: Vec<String> = instance.spellings().collect();
        let mut rows: Vec<_> = self.0.iter().filter(|row| texts.contains(&row.instance)).collect();
        rows.sort_by_key(|row| {
            (row.standing != Standing::Live, std::cmp::Reverse(row.created_at), row.id)
        });
        rows.truncate(agent_auth::MAX_CANDIDATES + 1);
        let candidate = |row: &AgentRow| {
            Candidate::new(
                AgentId(row.id),
                row.name.clone(),
                AgentToken::new(row.token.clone()),
                BuildId(row.build),
                WorkspaceId(row.workspace),
                row.standing,
            )
        };
        Ok(rows.into_iter().map(candidate).collect())
    }
}
