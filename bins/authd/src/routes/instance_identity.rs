//! A virtual machine proves which cloud instance it is and receives the session
//! token of its one agent
//!
//! A proof that fails never reaches the store, and one that holds costs it exactly
//! one question.

use agent_auth::{Candidate, select};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::{Request, Response, StatusCode};
use identity_verify::aws::SignedDocument;
use identity_verify::{Cloud, VerifiedInstance};
use serde::{Deserialize, Serialize};
use store::Store;
use tracing::info;
use uuid::Uuid;

use super::{body::read_json, json};
use crate::app::App;
use crate::error::{Failure, Invalid};

/// What an AWS instance sends; nothing in it is verified
#[derive(Deserialize)]
struct AwsProof {
    document: Option<String>,
    signature: Option<String>,
    agent_name: Option<String>,
}

/// What a signed-in instance receives
#[derive(Serialize)]
struct SessionToken {
    session_token: Uuid,
}

/// `POST /api/v2/workspaceagents/aws-instance-identity`
pub(crate) async fn aws<S, B>(
    app: &App<S>,
    request: Request<B>,
    request_id: Uuid,
) -> Result<Response<Full<Bytes>>, Failure>
where
    S: Store,
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let AwsProof { document, signature, agent_name } =
        read_json(request, app.limits.body, app.limits.body_patience()).await?;
    let (document, signature) = match (present(document), present(signature)) {
        (Some(document), Some(signature)) => (document, signature),
        (document, signature) => {
            let missing = [("signature", signature.is_none()), ("document", document.is_none())];
            let missing = missing.into_iter().filter(|(_, missing)| *missing);
            return Err(Failure::Validation(
                missing.map(|(field, _)| Invalid::required(field)).collect(),
            ));
        }
    };
    let proof = SignedDocument { document: document.as_bytes(), signature: signature.as_bytes() };
    let verified = app.aws.load().verify(&proof, app.now());
    let instance = judge(app, Cloud::Aws, verified)?;
    sign_in(app, &instance, agent_name, request_id).await
}

/// An empty field is as good as none
fn present(field: Option<String>) -> Option<String> {
    field.filter(|text| !text.is_empty())
}

/// Counts a verification and tells a forged proof from a genuine one that names no
/// possible instance
fn judge<S: Store>(
    app: &App<S>,
    cloud: Cloud,
    verified: Result<VerifiedInstance, identity_verify::Error>,
) -> Result<VerifiedInstance, Failure> {
    let reason = verified.as_ref().err().map(|error| error.reason().as_str());
    app.metrics.identity_verified(cloud.as_str(), reason);
    verified.map_err(|error| match error.instance_id() {
        Some(instance_id) => Failure::InstanceUnknown { instance_id: instance_id.to_owned() },
        None => Failure::InvalidIdentity { cloud, error },
    })
}

/// Finds the one agent of a verified instance and answers with its token
async fn sign_in<S: Store>(
    app: &App<S>,
    instance: &VerifiedInstance,
    agent_name: Option<String>,
    request_id: Uuid,
) -> Result<Response<Full<Bytes>>, Failure> {
    let instance_id = instance.id().as_str();
    let candidates = app.store.by_instance(instance_id).await.map_err(|error| {
        app.metrics.agent_signed_in("lookup_failed");
        Failure::LookupFailed(Box::new(error))
    })?;
    match select(&candidates, agent_name.as_deref(), app.rules) {
        Ok(agent) => {
            app.metrics.agent_signed_in("ok");
            let Candidate { agent, workspace, build, token, .. } = agent;
            info!(%request_id, instance_id, %agent, %workspace, %build, "agent signed in");
            Ok(json(StatusCode::OK, &SessionToken { session_token: token.reveal() }))
        }
        Err(refusal) => {
            let failure = Failure::InstanceRefused {
                instance_id: instance_id.to_owned(),
                agent_name,
                candidates: candidates.into_iter().take(LOGGED_CANDIDATES).collect(),
                refusal,
            };
            app.metrics.agent_signed_in(failure.class());
            Err(failure)
        }
    }
}

/// Enough to see what is wrong with an instance, and little enough for one line
const LOGGED_CANDIDATES: usize = 10;
