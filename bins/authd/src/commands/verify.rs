use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use chrono::DateTime;
use identity_fetch::{KeyCache, KeyUrl, Online, Proof, System};
use identity_verify::{Claims, Cloud, Policy, Rejection, VerifiedInstance};
use proof_repair::{CapturedProof, Repair};
use serde_json::{Map, Value};
use trust_folder::Trust;

use super::error::CommandError;
use super::files::read;
use crate::cli::{VerifyArgs, VerifyCloud};
use crate::clock::system_clock;

/// Verifies a proof from files and prints the result as one line of JSON
///
/// The exit status is 0 if the proof is valid, and 1 if it is not.
pub(super) async fn run(args: VerifyArgs) -> Result<ExitCode, CommandError> {
    let now = match &args.at {
        Some(date) => DateTime::parse_from_rfc3339(date)
            .map_err(|_| CommandError::Usage(format!("`{date}` is not an RFC 3339 date")))?
            .into(),
        None => system_clock()(),
    };
    let policy = args.policy.as_deref().map(read_policy).transpose()?.unwrap_or_default();
    let mut captured = read_proof(&args)?;
    let trust = Trust::read(args.trust_dir.as_deref())?;
    for file in trust.idle_files(now) {
        // If standard error is closed, the result is the same.
        let _ = writeln!(std::io::stderr(), "authd: {file}");
    }
    // Google's current keys cannot verify an old token, but most people who ask about a current
    // one have no file of keys.
    let keys = KeyCache::fetching(KeyUrl::default(), Arc::new(System), system_clock());
    let identity = trust.into_identity(&policy).online(Online::new(Some(keys), None));

    let had_pem_lines = captured.remove_pem_lines();
    let cloud = match args.cloud {
        VerifyCloud::Aws => Cloud::Aws,
        VerifyCloud::Azure => Cloud::Azure,
        VerifyCloud::Google => Cloud::Google,
    };
    let (mut line, status) = match identity.verify(&proof(&captured, cloud)?, now).await {
        Ok(instance) => (accept(&instance), ExitCode::SUCCESS),
        Err(rejection) => {
            let repair = captured.repair(cloud, &identity, &rejection, now).await;
            (reject(&rejection, repair), ExitCode::FAILURE)
        }
    };
    if had_pem_lines {
        line.insert(
            "note".to_owned(),
            "the PEM lines are not part of the message; send it without them".into(),
        );
    }
    writeln!(std::io::stdout(), "{}", Value::Object(line)).map_err(CommandError::Output)?;
    Ok(status)
}

/// Reads the files byte for byte: a line break at the end may be what is wrong
fn read_proof(args: &VerifyArgs) -> Result<CapturedProof, CommandError> {
    let read = |path: &Option<_>| path.as_deref().map(|path| read(path, LARGEST_FILE)).transpose();
    let mut captured = CapturedProof::default();
    captured.document = read(&args.document)?;
    captured.signature = read(&args.signature)?;
    captured.pkcs7 = read(&args.pkcs7)?;
    captured.token = read(&args.token)?;
    Ok(captured)
}

/// The proof that the files make up
fn proof(captured: &CapturedProof, cloud: Cloud) -> Result<Proof, CommandError> {
    let is_pkcs7 = || captured.signature.as_deref().is_some_and(proof_repair::is_pkcs7);
    captured.proof(cloud).ok_or_else(|| {
        let expected = match cloud {
            Cloud::Aws if captured.document.is_none() && is_pkcs7() => {
                "`--signature` has a PKCS#7 message: give it as `--pkcs7`"
            }
            Cloud::Aws => "`aws` needs `--document` and `--signature`, or `--pkcs7`, or all three",
            Cloud::Azure => "`azure` needs `--signature` alone",
            Cloud::Google => "`google` needs `--token` alone",
        };
        CommandError::Usage(expected.to_owned())
    })
}

fn read_policy(path: &Path) -> Result<Policy, CommandError> {
    serde_json::from_slice(&read(path, LARGEST_FILE)?)
        .map_err(|error| CommandError::PolicyFile { path: path.to_owned(), error })
}

/// The instance and its claims; claims that the cloud did not sign are left out
fn accept(instance: &VerifiedInstance) -> Map<String, Value> {
    let mut line = Map::new();
    let mut put = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            line.insert(name.to_owned(), value.into());
        }
    };
    put("outcome", Some("accept"));
    put("cloud", Some(instance.cloud().as_str()));
    put("instance_id", Some(instance.id().as_str()));
    match instance.claims() {
        Claims::Aws(claims) => {
            put("account_id", claims.account_id.as_deref());
            put("region", Some(&claims.region));
            put("availability_zone", claims.availability_zone.as_deref());
            put("instance_type", claims.instance_type.as_deref());
            put("image_id", claims.image_id.as_deref());
        }
        Claims::Azure(claims) => {
            put("environment", Some(claims.environment.as_str()));
            put("subscription_id", claims.subscription_id.as_deref());
        }
        Claims::Google(claims) => {
            put("project_id", claims.project_id.as_deref());
            put("zone", claims.zone.as_deref());
            put("instance_name", claims.instance_name.as_deref());
            put("service_account", claims.service_account.as_deref());
        }
        _ => {}
    }
    line
}

/// The reason, what the proof says about its machine, and the change that makes it valid
fn reject(rejection: &Rejection, repair: Option<Repair>) -> Map<String, Value> {
    let mut line = Map::new();
    let mut put = |name: &str, value: Value| {
        line.insert(name.to_owned(), value);
    };
    put("outcome", "reject".into());
    put("reason", rejection.reason().as_str().into());
    put("detail", rejection.to_string().into());
    if rejection.claimed().iter().len() > 0 {
        put("verified", rejection.is_genuine().into());
    }
    for (name, value) in rejection.claimed().iter() {
        put(name, value.into());
    }
    if let Some(denied) = rejection.denied() {
        put("setting", denied.setting().into());
        put("value", denied.value().into());
    }
    if let Some(repair) = repair {
        put("repair", repair.to_string().into());
    }
    line
}

/// A machine does not send more
const LARGEST_FILE: u64 = 1 << 20;
