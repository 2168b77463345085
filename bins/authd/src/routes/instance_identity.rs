//! A virtual machine proves which cloud instance it is and receives the session
//! token of its one agent
//!
//! A proof that fails never reaches the store, and one that holds costs it exactly
//! one question.

use agent_auth::{Candidate, Denial as Refusal, ProvenInstance, select};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::{Request, Response, StatusCode};
use identity_verify::{InstanceId, VerifiedInstance};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use store::Store;
use tracing::info;
use uuid::Uuid;

use super::{body::read_json, json};
use crate::app::App;
use crate::error::{Failure, Invalid, RefusedInstance};
use crate::identity::Proof;

/// The body of a sign-in, one type for each cloud
pub(crate) trait SignIn: DeserializeOwned {
    /// The proof in it and the agent it asks for
    ///
    /// An empty field is as good as none.
    fn into_parts(self) -> Result<(Proof, Option<String>), Failure>;
}

/// What an AWS instance sends: a document and its signature, or a PKCS#7 message that
/// holds both, or all three: then either has to hold, and the message counts first
#[derive(Deserialize)]
pub(crate) struct AwsSignIn {
    document: Option<String>,
    signature: Option<String>,
    pkcs7: Option<String>,
    agent_name: Option<String>,
}

impl SignIn for AwsSignIn {
    fn into_parts(self) -> Result<(Proof, Option<String>), Failure> {
        let proof = match (present(self.pkcs7), present(self.signature), present(self.document)) {
            (Some(pkcs7), Some(signature), Some(document)) => {
                Proof::AwsBoth { pkcs7, document, signature }
            }
            (Some(pkcs7), _, document) => Proof::AwsPkcs7 { pkcs7, document },
            (None, Some(signature), Some(document)) => Proof::AwsDocument { document, signature },
            (None, signature, document) => {
                return Err(missing(&[
                    ("signature", signature.is_none()),
                    ("document", document.is_none()),
                ]));
            }
        };
        Ok((proof, self.agent_name))
    }
}

/// What an Azure virtual machine sends: attested data, as the metadata service wrapped
/// it
#[derive(Deserialize)]
pub(crate) struct AzureSignIn {
    signature: Option<String>,
    /// Required by the reference, which never looks at it either
    encoding: Option<String>,
    agent_name: Option<String>,
}

impl SignIn for AzureSignIn {
    fn into_parts(self) -> Result<(Proof, Option<String>), Failure> {
        match (present(self.signature), present(self.encoding)) {
            (Some(signature), Some(_)) => Ok((Proof::Azure { signature }, self.agent_name)),
            (signature, encoding) => Err(missing(&[
                ("signature", signature.is_none()),
                ("encoding", encoding.is_none()),
            ])),
        }
    }
}

/// What a Google instance sends: an identity token
#[derive(Deserialize)]
pub(crate) struct GoogleSignIn {
    json_web_token: Option<String>,
    agent_name: Option<String>,
}

impl SignIn for GoogleSignIn {
    fn into_parts(self) -> Result<(Proof, Option<String>), Failure> {
        match present(self.json_web_token) {
            Some(token) => Ok((Proof::Google { token }, self.agent_name)),
            None => Err(missing(&[("json_web_token", true)])),
        }
    }
}

fn present(field: Option<String>) -> Option<Vec<u8>> {
    field.filter(|text| !text.is_empty()).map(String::into_bytes)
}

fn missing(fields: &[(&'static str, bool)]) -> Failure {
    let missing = fields.iter().filter(|(_, missing)| *missing);
    Failure::Validation(missing.map(|(field, _)| Invalid::required(field)).collect())
}

/// What a signed-in instance receives
#[derive(Serialize)]
struct SessionToken {
    session_token: Uuid,
}

/// `POST /api/v2/workspaceagents/{aws,azure,google}-instance-identity`
pub(crate) async fn sign_in<T, S, B>(
    app: &App<S>,
    request: Request<B>,
    request_id: Uuid,
) -> Result<Response<Full<Bytes>>, Failure>
where
    T: SignIn,
    S: Store,
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let body: T = read_json(request, app.limits.body_bounds()).await?;
    let (proof, agent_name) = body.into_parts()?;
    let instance = verify(app, &proof).await?;
    answer(app, &instance, agent_name, request_id).await
}

/// Verifies and counts a proof, and tells a forged one from a genuine one that names
/// no possible instance
async fn verify<S: Store>(app: &App<S>, proof: &Proof) -> Result<VerifiedInstance, Failure> {
    let cloud = proof.cloud();
    let identity = app.identity.load_full();
    let verified = identity.verify(proof, app.now()).await;
    let reason = verified.as_ref().err().map(|rejection| rejection.reason().as_str());
    app.metrics.identity_verified(cloud.as_str(), reason);
    verified.map_err(|rejection| match rejection.error().instance_id() {
        Some(instance_id) => {
            Failure::InstanceUnknown { instance_id: instance_id.to_owned(), cloud }
        }
        None => Failure::InvalidIdentity { cloud, rejection: Box::new(rejection) },
    })
}

/// Finds the one agent of a verified instance and answers with its token
async fn answer<S: Store>(
    app: &App<S>,
    instance: &VerifiedInstance,
    agent_name: Option<String>,
    request_id: Uuid,
) -> Result<Response<Full<Bytes>>, Failure> {
    let (instance_id, cloud) = (instance.id().as_str(), instance.cloud());
    let proven = ProvenInstance::assume_verified(instance_id);
    let candidates = app.store.by_instance(proven).await.map_err(|error| {
        let failure = match error.is_transient() {
            true => Failure::LookupUnavailable(Box::new(error)),
            false => Failure::LookupFailed(Box::new(error)),
        };
        app.metrics.agent_signed_in(failure.class());
        failure
    })?;
    match select(&candidates, agent_name.as_deref(), app.rules) {
        Ok(agent) => {
            app.metrics.agent_signed_in("ok");
            let Candidate { agent, workspace, build, token, .. } = agent;
            info!(%request_id, instance_id, %agent, %workspace, %build, "agent signed in");
            Ok(json(StatusCode::OK, &SessionToken { session_token: token.reveal() }))
        }
        Err(refusal) => {
            let stored_as = match refusal {
                Refusal::NotFound if candidates.is_empty() => {
                    stored_otherwise(app, instance.id()).await
                }
                _ => None,
            };
            let failure = Failure::InstanceRefused(Box::new(RefusedInstance {
                instance_id: instance_id.to_owned(),
                cloud,
                agent_name,
                candidates: candidates.into_iter().take(LOGGED_CANDIDATES).collect(),
                stored_as,
                refusal,
            }));
            app.metrics.agent_signed_in(failure.class());
            Err(failure)
        }
    }
}

/// The firmware's spelling of an Azure id, if agents are stored under it
///
/// Asked only for a machine that proved its id and is not found. It never signs in by the
/// other spelling: that is another machine's id as well.
async fn stored_otherwise<S: Store>(app: &App<S>, id: &InstanceId) -> Option<String> {
    let firmware = id.in_firmware_order()?;
    // Not proven itself, so nothing of what is found is handed out.
    let other = ProvenInstance::assume_verified(firmware.as_str());
    let found = app.store.by_instance(other).await.ok()?;
    (!found.is_empty()).then(|| firmware.as_str().to_owned())
}

/// Enough to see what is wrong with an instance, and little enough for one line
const LOGGED_CANDIDATES: usize = 10;
