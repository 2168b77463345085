//! An instance proves its identity and receives the session token of its one agent
//!
//! A proof that does not verify never reaches the store. A verified one costs one query. A second
//! query is made only to log why an instance of Azure or Google was not found.

use std::time::SystemTime;

use agent_auth::{
    AgentId, AgentToken, BuildId, Candidate, Candidates, Denial, ProvenInstance, WorkspaceId,
    select,
};
use app_audit::{Act, ActKind, SubjectKind};
use futures_util::future::join_all;
use http::StatusCode;
use identity_fetch::Proof;
use identity_verify::{Claims, Cloud, VerifiedInstance};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::acts::{Acts, act, refused_sign_in};
use crate::agents::AgentService;
use crate::body::read_json;
use crate::context::{Body, Context};
use crate::error::{Error, SignInDenial, SignInError, StoredAs};
use crate::freshness::AnyNonces;
use crate::ports::{AgentKey, AgentPorts};
use crate::reply::{Invalid, Response, json};
use crate::request_facts::log_request;

/// What is demanded of a proof, beside what its verifier checks
#[derive(Clone, Copy)]
pub(crate) struct Demands<'a> {
    pub(crate) nonces: Option<&'a dyn AnyNonces>,
    /// Whether an older proof than one that was presented is refused
    pub(crate) pins: bool,
}

/// `POST /api/v2/workspaceagents/{aws,azure,google}-instance-identity`
pub(crate) async fn sign_in<S: AgentPorts>(
    agents: &AgentService<S>,
    (acts, demands): (&Acts, Demands<'_>),
    cloud: Cloud,
    cx: &Context<'_>,
    body: Body,
) -> Result<Response, Error> {
    let SignIn { proof, agent_name } = match cloud {
        Cloud::Aws => read::<AwsSignIn>(agents, cx, body).await?,
        Cloud::Azure => read::<AzureSignIn>(agents, cx, body).await?,
        Cloud::Google => read::<GoogleSignIn>(agents, cx, body).await?,
    };
    let found = async {
        let (instance, moment) = verify(agents, demands, cx, &proof).await?;
        let agent = find_agent(agents, cx, (&instance, moment), agent_name).await?;
        let (instance_id, cloud) = (instance.id().as_str().to_owned(), instance.cloud());
        acts.record_first(signed_in(&agent, &instance_id, cx).proof(cloud.as_str()))
            .await
            .map_err(|_| SignInError::Unrecorded { instance_id, cloud })?;
        Ok(json(StatusCode::OK, &SessionToken { session_token: agent.token.reveal().to_string() }))
    };
    let answer: Result<_, SignInError> = found.await;
    if let Err(error) = &answer
        && let Some(act) = refused_sign_in(error, cx)
    {
        acts.record(act);
    }
    Ok(answer?)
}

fn signed_in<I: AgentKey, T>(agent: &Candidate<I, T>, instance_id: &str, cx: &Context<'_>) -> Act {
    let (id, workspace) = (&agent.agent.0, &agent.workspace.0);
    let act = act(ActKind::AgentSignIn, cx);
    let act = match id.uuid().zip(workspace.uuid()) {
        Some((id, workspace)) => act.agent(id, workspace),
        None => act.detail("agent", &id.to_string()).detail("workspace", &workspace.to_string()),
    };
    act.subject(SubjectKind::Instance, instance_id)
        .detail("agent_name", &agent.name)
        .detail("build", &agent.build.to_string())
}

/// A proof, and the name of the agent that the instance asks for
struct SignIn {
    proof: Proof,
    agent_name: Option<String>,
}

async fn read<T>(
    agents: &AgentService<impl Sync>,
    cx: &Context<'_>,
    body: Body,
) -> Result<SignIn, Error>
where
    T: DeserializeOwned + TryInto<SignIn, Error = Vec<Invalid>>,
{
    let fields: T = read_json(cx, body, agents.bounds).await?;
    fields.try_into().map_err(Error::Validation)
}

/// The body of an AWS instance: a document and its signature, or a PKCS#7 message that contains
/// both, or all three, of which one has to verify; the message is tried first
#[derive(Deserialize)]
struct AwsSignIn {
    document: Option<String>,
    signature: Option<String>,
    pkcs7: Option<String>,
    agent_name: Option<String>,
}

impl TryFrom<AwsSignIn> for SignIn {
    type Error = Vec<Invalid>;

    /// Errs with the required fields that are missing or empty
    fn try_from(mut fields: AwsSignIn) -> Result<Self, Vec<Invalid>> {
        let proof = Proof::from_fields(Cloud::Aws, |name| match name {
            "document" => bytes(&mut fields.document),
            "signature" => bytes(&mut fields.signature),
            "pkcs7" => bytes(&mut fields.pkcs7),
            _ => None,
        });
        let proof = proof.map_err(|missing| required(missing.names()))?;
        Ok(Self { proof, agent_name: fields.agent_name })
    }
}

/// The body of an Azure instance: attested data, as the metadata service wrapped it
#[derive(Deserialize)]
struct AzureSignIn {
    signature: Option<String>,
    /// Required by the reference, which does not read it either
    encoding: Option<String>,
    agent_name: Option<String>,
}

impl TryFrom<AzureSignIn> for SignIn {
    type Error = Vec<Invalid>;

    /// Errs with the required fields that are missing or empty
    fn try_from(mut fields: AzureSignIn) -> Result<Self, Vec<Invalid>> {
        let proof = Proof::from_fields(Cloud::Azure, |_| bytes(&mut fields.signature));
        let no_encoding = fields.encoding.is_none_or(|text| text.is_empty()).then_some("encoding");
        match (proof, no_encoding) {
            (Ok(proof), None) => Ok(Self { proof, agent_name: fields.agent_name }),
            (Ok(_), Some(name)) => Err(required(&[name])),
            (Err(missing), None) => Err(required(missing.names())),
            (Err(missing), Some(name)) => Err(required(&[missing.names(), &[name]].concat())),
        }
    }
}

/// The body of a Google instance: an identity token
#[derive(Deserialize)]
struct GoogleSignIn {
    json_web_token: Option<String>,
    agent_name: Option<String>,
}

impl TryFrom<GoogleSignIn> for SignIn {
    type Error = Vec<Invalid>;

    /// Errs with the required fields that are missing or empty
    fn try_from(mut fields: GoogleSignIn) -> Result<Self, Vec<Invalid>> {
        let proof = Proof::from_fields(Cloud::Google, |_| bytes(&mut fields.json_web_token));
        let proof = proof.map_err(|missing| required(missing.names()))?;
        Ok(Self { proof, agent_name: fields.agent_name })
    }
}

fn bytes(field: &mut Option<String>) -> Option<Vec<u8>> {
    field.take().map(String::into_bytes)
}

fn required(missing: &[&'static str]) -> Vec<Invalid> {
    missing.iter().copied().map(Invalid::required).collect()
}

/// The answer to an instance that signed in
#[derive(Serialize)]
struct SessionToken {
    session_token: String,
}

/// Verifies and counts a proof; returns its moment too, if that is to be pinned
async fn verify<S: AgentPorts>(
    agents: &AgentService<S>,
    Demands { nonces, pins }: Demands<'_>,
    cx: &Context<'_>,
    proof: &Proof,
) -> Result<(VerifiedInstance, Option<SystemTime>), SignInError> {
    let cloud = proof.cloud();
    let identity = agents.identity.load_full();
    let verified = match (nonces, identity.verify(proof, cx.now).await) {
        (Some(nonces), Ok(instance)) => nonces.demand(instance, cx.now).await,
        (_, verified) => verified,
    };
    let verified = verified.and_then(|instance| match pins {
        true => instance.require_moment().map(|moment| (instance, Some(moment))),
        false => Ok((instance, None)),
    });
    let reason = verified.as_ref().err().map(|rejection| rejection.reason().as_str());
    agents.metrics.identity_verified(cloud.as_str(), reason);
    verified.map_err(|rejection| match rejection.error().instance_id() {
        Some(id) => SignInError::ImpossibleInstance { instance_id: id.to_owned(), cloud },
        None => SignInError::InvalidIdentity { cloud, rejection: Box::new(rejection) },
    })
}

/// Finds the one agent of a verified instance
async fn find_agent<S: AgentPorts>(
    agents: &AgentService<S>,
    cx: &Context<'_>,
    (instance, moment): (&VerifiedInstance, Option<SystemTime>),
    agent_name: Option<String>,
) -> Result<Candidate<S::Id, S::Token>, SignInError> {
    let (instance_id, cloud) = (instance.id().as_str(), instance.cloud());
    let counted = |error: SignInError| {
        agents.metrics.agent_signed_in(error.problem().class);
        error
    };
    let proven = ProvenInstance::assume_verified(instance_id);
    let (proven, rules) = match moment {
        Some(moment) => (proven.pinning(moment), agents.rules.refuse_replays(moment)),
        None => (proven, agents.rules),
    };
    let candidates = agents.candidates.by_instance(proven).await;
    let candidates = candidates.map_err(|error| {
        let error = error.into();
        counted(SignInError::Lookup { instance_id: instance_id.to_owned(), cloud, error })
    })?;
    match select(&candidates, agent_name.as_deref(), rules) {
        Ok(found) => {
            agents.metrics.agent_signed_in("ok");
            let Candidate { agent, workspace, build, .. } = found;
            log_request!(
                info,
                &cx.facts,
                status = 200,
                instance_id,
                cloud = cloud.as_str(),
                %agent,
                %workspace,
                %build,
                "agent signed in"
            );
            Ok(found.clone())
        }
        Err(denial) => {
            let stored_as = match denial {
                Denial::NotFound if candidates.is_empty() => other_form(agents, instance).await,
                _ => None,
            };
            let logged = candidates.into_iter().take(LOGGED_CANDIDATES);
            Err(counted(SignInError::Denied(Box::new(SignInDenial {
                instance_id: instance_id.to_owned(),
                cloud,
                agent_name,
                candidates: logged.map(without_token).collect(),
                stored_as,
                denial,
            }))))
        }
    }
}

fn without_token<I: AgentKey, T>(candidate: Candidate<I, T>) -> Candidate<String, ()> {
    let Candidate { agent, name, build, workspace, standing, .. } = candidate;
    let (agent, build) = (AgentId(agent.0.to_string()), BuildId(build.0.to_string()));
    let workspace = WorkspaceId(workspace.0.to_string());
    Candidate::new(agent, name, AgentToken::new(()), build, workspace, standing)
}

/// Another text for the same instance, if agents are stored under it
///
/// Asked only for a verified instance without agents. An instance never signs in by such a text,
/// which may also stand for another instance.
async fn other_form<S: AgentPorts>(
    agents: &AgentService<S>,
    instance: &VerifiedInstance,
) -> Option<StoredAs> {
    let forms = other_forms(instance);
    let find = async |form: &StoredAs| {
        // Not verified itself, so the agents that are found are only counted.
        let unverified = ProvenInstance::assume_verified(&form.id);
        agents.candidates.by_instance(unverified).await.is_ok_and(|found| !found.is_empty())
    };
    // At the same time, so that the store can answer them with one statement.
    let found = join_all(forms.iter().map(find)).await;
    forms.into_iter().zip(found).find_map(|(form, is_found)| is_found.then_some(form))
}

/// What templates are known to record instead of the id that the metadata service signs
fn other_forms(instance: &VerifiedInstance) -> Vec<StoredAs> {
    let firmware = instance.id().in_firmware_order().map(|id| StoredAs {
        id: id.as_str().to_owned(),
        is: "this id in the firmware's order of bytes: let the template record the id of the \
             metadata service",
    });
    let Claims::Google(claims) = instance.claims() else { return firmware.into_iter().collect() };
    let is = "the name of this machine: let the template record its number (`instance_id`)";
    let (name, project, zone) = (&claims.instance_name, &claims.project_id, &claims.zone);
    let path = project.as_ref().zip(zone.as_ref()).zip(name.as_ref());
    let path = path
        .map(|((project, zone), name)| format!("projects/{project}/zones/{zone}/instances/{name}"));
    let link = path.as_ref().map(|path| format!("https://www.googleapis.com/compute/v1/{path}"));
    [name.clone(), path, link].into_iter().flatten().map(|id| StoredAs { id, is }).collect()
}

/// Enough candidates to see what is wrong with an instance, in one line of the log
const LOGGED_CANDIDATES: usize = 10;
