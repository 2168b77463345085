//! Why can this machine not sign in? The verification alone, on files

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use chrono::DateTime;
use identity_verify::{Claims, Policy, VerifiedInstance};
use serde_json::{Map, Value, json};

use super::CommandError;
use crate::app::system_clock;
use crate::cli::{VerifyArgs, VerifyCloud};
use crate::identity::{Identity, Online, Proof};
use crate::outgoing::{KeyCache, KeyUrl, System};
use crate::trust::Trust;

/// No machine sends more
const LARGEST_FILE: u64 = 1 << 20;

/// Verifies a proof from files and prints the outcome as one line of JSON
///
/// The exit status is 0 for a proof that holds and 1 for one that does not.
pub(crate) async fn run(args: VerifyArgs) -> Result<ExitCode, CommandError> {
    let now = match &args.at {
        Some(date) => DateTime::parse_from_rfc3339(date)
            .map_err(|_| CommandError::Usage(format!("`{date}` is not an RFC 3339 date")))?
            .into(),
        None => system_clock()(),
    };
    let policy = args.policy.as_deref().map(read_policy).transpose()?.unwrap_or_default();
    let proof = proof(&args)?;
    let trust = Trust::read(args.trust_dir.as_deref())?;
    // Google's keys of today cannot judge a token of another day, but those who ask
    // about a token of today mostly have no file of keys at hand.
    let keys = KeyCache::fetching(KeyUrl::default(), Arc::new(System), system_clock());
    let identity = Identity::new(trust, &policy, Online::new(Some(keys), None));
    let outcome = identity.verify(&proof, now).await;
    let accepted = outcome.is_ok();
    let line = match outcome {
        Ok(instance) => accept(&instance),
        Err(error) => json!({
            "outcome": "reject",
            "reason": error.reason().as_str(),
            "detail": error.to_string(),
        }),
    };
    writeln!(std::io::stdout(), "{line}").map_err(CommandError::Output)?;
    Ok(if accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The proof that the options make up
fn proof(args: &VerifyArgs) -> Result<Proof, CommandError> {
    let document = args.document.as_deref().map(read).transpose()?;
    let signature = args.signature.as_deref().map(read).transpose()?;
    let pkcs7 = args.pkcs7.as_deref().map(read).transpose()?;
    let token = args.token.as_deref().map(read).transpose()?;
    let expected = match (args.cloud, document, signature, pkcs7, token) {
        (VerifyCloud::Aws, Some(document), Some(signature), None, None) => {
            return Ok(Proof::AwsDocument { document, signature });
        }
        (VerifyCloud::Aws, document, None, Some(pkcs7), None) => {
            return Ok(Proof::AwsPkcs7 { pkcs7, document });
        }
        (VerifyCloud::Azure, None, Some(signature), None, None)
        | (VerifyCloud::Azure, None, None, Some(signature), None) => {
            return Ok(Proof::Azure { signature });
        }
        (VerifyCloud::Google, None, None, None, Some(token)) => {
            return Ok(Proof::Google { token });
        }
        (VerifyCloud::Aws, ..) => "`aws` takes `--document` and `--signature`, or `--pkcs7`",
        (VerifyCloud::Azure, ..) => "`azure` takes `--signature`",
        (VerifyCloud::Google, ..) => "`google` takes `--token`",
    };
    Err(CommandError::Usage(expected.to_owned()))
}

/// The bytes as they are: a line break at the end may be what is wrong
fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    let unreadable = |error| CommandError::ProofFile { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().take(LARGEST_FILE).read_to_end(&mut bytes).map_err(unreadable)?;
    } else {
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(LARGEST_FILE).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    Ok(bytes)
}

fn read_policy(path: &Path) -> Result<Policy, CommandError> {
    serde_json::from_slice(&read(path)?)
        .map_err(|error| CommandError::PolicyFile { path: path.to_owned(), error })
}

/// What the cloud vouches for; fields it did not sign are left out
fn accept(instance: &VerifiedInstance) -> Value {
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
    Value::Object(line)
}
