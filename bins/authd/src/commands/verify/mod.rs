//! Why can this machine not sign in? The verification alone, on files

mod files;
mod repair;
mod text;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use chrono::DateTime;
use identity_fetch::{KeyCache, KeyUrl, Online, System};
use identity_verify::{Claims, Policy, Rejection, VerifiedInstance};
use serde_json::{Map, Value};

use self::files::{Files, read};
use self::repair::Repair;
use super::CommandError;
use crate::cli::VerifyArgs;
use crate::clock::system_clock;
use crate::trust::Trust;

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
    let files = Files::read(&args)?;
    let trust = Trust::read(args.trust_dir.as_deref())?;
    for idle in trust.idle_files(now) {
        // A closed standard error does not change the outcome.
        let _ = writeln!(std::io::stderr(), "authd: {idle}");
    }
    // Google's keys of today cannot judge a token of another day, but those who ask
    // about a token of today mostly have no file of keys at hand.
    let keys = KeyCache::fetching(KeyUrl::default(), Arc::new(System), system_clock());
    let identity = trust.into_identity(&policy).online(Online::new(Some(keys), None));

    let (files, armor) = files.without_pem_lines();
    let outcome = identity.verify(&files.proof(args.cloud)?, now).await;
    let (mut line, status) = match &outcome {
        Ok(instance) => (accept(instance), ExitCode::SUCCESS),
        Err(rejection) => {
            let repair = match repair::is_worth_a_search(rejection) {
                true => repair::find(&identity, &files, args.cloud, now).await,
                false => None,
            };
            (reject(rejection, repair), ExitCode::FAILURE)
        }
    };
    if armor {
        line.insert(
            "note".to_owned(),
            "the PEM lines are not part of the message; send it without them".into(),
        );
    }
    writeln!(std::io::stdout(), "{}", Value::Object(line)).map_err(CommandError::Output)?;
    Ok(status)
}

fn read_policy(path: &Path) -> Result<Policy, CommandError> {
    serde_json::from_slice(&read(path)?)
        .map_err(|error| CommandError::PolicyFile { path: path.to_owned(), error })
}

/// What the cloud vouches for; fields it did not sign are left out
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

/// Why it was refused, what it says of its machine, and how it would hold
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
