use std::time::SystemTime;

use app_authz::token::{Change, CryptoKey, Feature, Rotation, Secret, replace, rotate};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;
use store::PgStore;

use super::acts::{ActKind, of_operator};
use super::database::with_store;
use super::error::CommandError;
use super::output::{print, printable};
use crate::cli::{KeysArgs, KeysCommand};
use crate::clock::system_clock;
use crate::random::random_bytes;

/// Lists or rotates the keys that sign app tokens and seal sessions
pub(super) async fn run(args: KeysArgs) -> Result<(), CommandError> {
    let now = system_clock()();
    match args.command {
        KeysCommand::List { json, config } => {
            with_store(config, async |store| list(store, now, json).await).await
        }
        KeysCommand::Rotate { force, compromised, json, config } => {
            let plan = move |feature, rows: &[CryptoKey], secret: &[u8; LONGEST_SECRET]| {
                let fill = |bytes: &mut [u8]| bytes.copy_from_slice(&secret[..bytes.len()]);
                match force || compromised {
                    true => replace(feature, rows, now, compromised, fill),
                    false => rotate(feature, rows, now, fill),
                }
            };
            with_store(config, async |store| {
                if compromised && !store.may_change_rows().await? {
                    return Err(would_change(store, plan).await?);
                }
                change(store, plan, json).await
            })
            .await
        }
    }
}

async fn list(store: &PgStore, now: SystemTime, json: bool) -> Result<(), CommandError> {
    let mut lines = Vec::new();
    for feature in FEATURES {
        // A rotation that changes nothing reads all rows, the cleared ones too.
        let read = |rows: &[CryptoKey]| {
            lines.extend(
                rows.iter().rev().map(|row| if json { object(row, now) } else { line(row, now) }),
            );
            Vec::new()
        };
        store.rotate(feature, read).await?;
    }
    if !json {
        let [feature, sequence, state] = ["FEATURE", "SEQUENCE", "STATE"];
        lines.insert(0, format!("{feature:<24} {sequence:>8} {state:<10} {:<20} ENDS", "STARTS"));
    }
    print(&lines)
}

fn state(row: &CryptoKey, now: SystemTime) -> &'static str {
    match (&row.secret, row.deletes_at) {
        (None, _) => "cleared",
        (Some(secret), _) if secret.unreadable_reason().is_some() => "unreadable",
        (_, Some(end)) if end <= now => "ended",
        _ if row.starts_at > now => "waiting",
        (_, Some(_)) => "ending",
        _ => "signing",
    }
}

/// A key as a line of JSON
fn object(row: &CryptoKey, now: SystemTime) -> String {
    json!({
        "feature": row.feature.as_str(),
        "sequence": row.sequence,
        "state": state(row, now),
        "starts_at": time(row.starts_at),
        "ends_at": row.deletes_at.map(time),
        "problem": row.secret.as_ref().and_then(Secret::unreadable_reason),
    })
    .to_string()
}

fn line(row: &CryptoKey, now: SystemTime) -> String {
    let unreadable = row.secret.as_ref().and_then(Secret::unreadable_reason);
    let state = state(row, now);
    let ends = row.deletes_at.map_or_else(|| "-".to_owned(), time);
    let (feature, sequence, starts) = (row.feature.as_str(), row.sequence, time(row.starts_at));
    let line = format!("{feature:<24} {sequence:>8} {state:<10} {starts:<20} {ends}");
    match unreadable {
        Some(reason) => format!("{line}  {}", printable(reason)),
        None => line,
    }
}

async fn change(
    store: &PgStore,
    plan: impl Fn(Feature, &[CryptoKey], &[u8; LONGEST_SECRET]) -> Vec<Change> + Send + Sync,
    json: bool,
) -> Result<(), CommandError> {
    for feature in FEATURES {
        let mut lines = Vec::new();
        let secret = random_bytes()?;
        let change = |rows: &[CryptoKey]| {
            let changes = plan(feature, rows, &secret);
            let describe = |change| match json {
                true => object_of_change(feature, change),
                false => format!("{}: {}", feature.as_str(), describe(change)),
            };
            lines = changes.iter().map(describe).collect();
            changes
        };
        store.rotate_recorded(feature, change, Some(of_operator(ActKind::KeysRotate))).await?;
        if lines.is_empty() && !json {
            lines.push(format!("{}: nothing is due", feature.as_str()));
        }
        print(&lines)?;
    }
    Ok(())
}

/// Names the keys of a control plane that would be cleared, and changes nothing
async fn would_change(
    store: &PgStore,
    plan: impl Fn(Feature, &[CryptoKey], &[u8; LONGEST_SECRET]) -> Vec<Change> + Send + Sync,
) -> Result<CommandError, CommandError> {
    let mut cleared = Vec::new();
    for feature in FEATURES {
        let read = |rows: &[CryptoKey]| {
            cleared.extend(plan(feature, rows, &[0; LONGEST_SECRET]).iter().filter_map(|change| {
                let Change::Clear { sequence, .. } = change else { return None };
                Some(format!("{} {sequence}", feature.as_str()))
            }));
            Vec::new()
        };
        store.rotate(feature, read).await?;
    }
    let keys = if cleared.is_empty() { "the keys".to_owned() } else { cleared.join(", ") };
    let changes = format!("{keys} in crypto_keys, with which it signs too");
    Ok(store::Error::ControlPlane { changes }.into())
}

fn describe(change: &Change) -> String {
    match change {
        Change::Clear { sequence, .. } => format!("key {sequence} is cleared"),
        Change::End { sequence, deletes_at, .. } => {
            format!("key {sequence} ends at {}", time(*deletes_at))
        }
        Change::Insert(key) => {
            format!("key {} signs from {}", key.sequence, time(key.starts_at))
        }
    }
}

/// A change as a line of JSON
fn object_of_change(feature: Feature, change: &Change) -> String {
    let (what, sequence, at) = match change {
        Change::Clear { sequence, .. } => ("cleared", *sequence, None),
        Change::End { sequence, deletes_at, .. } => ("ends", *sequence, Some(*deletes_at)),
        Change::Insert(key) => ("signs", key.sequence, Some(key.starts_at)),
    };
    let feature = feature.as_str();
    json!({ "feature": feature, "sequence": sequence, "change": what, "at": at.map(time) })
        .to_string()
}

fn time(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The features whose keys authd rotates; other keys belong to the control plane
const FEATURES: [Feature; 2] = [Feature::WorkspaceAppsToken, Feature::WorkspaceAppsApiKey];

const LONGEST_SECRET: usize = 64;
