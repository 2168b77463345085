//! Keys for proxies: secrets for those who prove themselves, or public keys for anybody

use std::time::SystemTime;

use app_authz::token::{CryptoKey, Feature};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use http::header::HeaderMap;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use store::Store;

use super::app_tokens::authenticate_proxy;
use super::{answer, json};
use crate::apps::{Apps, parameter, parameters};
use crate::error::{AccessFailure, Failure};

#[derive(Serialize)]
struct Keys {
    crypto_keys: Vec<Key>,
}

#[derive(Serialize)]
struct Key {
    feature: &'static str,
    secret: String,
    deletes_at: Option<String>,
    sequence: i32,
    starts_at: String,
}

/// `GET /api/v2/workspaceproxies/me/crypto-keys`
///
/// Of the two features of apps alone; where app tokens are verified with public keys, the
/// secrets that sign them are nobody's.
pub(crate) async fn for_proxy<S: Store>(
    apps: &Apps<S>,
    headers: &HeaderMap,
    query: &str,
    now: SystemTime,
) -> Result<Response<Full<Bytes>>, Failure> {
    authenticate_proxy(apps, headers).await?;
    let parameters = parameters(query);
    let asked = parameter(&parameters, "feature").unwrap_or_default();
    let invalid = |detail: &str| AccessFailure::Invalid {
        message: "Invalid feature.",
        detail: detail.to_owned(),
    };
    let feature = match asked.parse() {
        Ok(Feature::WorkspaceAppsToken) if !apps.keys.are_shared_secrets() => {
            return Err(invalid("App tokens are verified with the keys of `jwks.json`.").into());
        }
        Ok(feature @ (Feature::WorkspaceAppsToken | Feature::WorkspaceAppsApiKey)) => feature,
        _ => {
            let known = "It is `workspace_apps_token` or `workspace_apps_api_key`.";
            return Err(invalid(known).into());
        }
    };
    let rows = apps.store.keys(feature).await.map_err(AccessFailure::Store)?;
    let good = rows.iter().filter(|row| row.deletes_at.is_none_or(|end| now < end));
    Ok(json(StatusCode::OK, &Keys { crypto_keys: good.filter_map(key).collect() }))
}

/// The key, if its secret is there and can be read
fn key(row: &CryptoKey) -> Option<Key> {
    let time =
        |time: SystemTime| DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let secret = row.secret.as_ref().filter(|secret| secret.unreadable_reason().is_none())?;
    Some(Key {
        feature: row.feature.as_str(),
        secret: secret.to_hex(),
        deletes_at: row.deletes_at.map(time),
        sequence: row.sequence,
        starts_at: time(row.starts_at),
    })
}

/// `GET /api/v2/workspaceproxies/jwks.json`
pub(crate) async fn public<S: Store>(
    apps: &Apps<S>,
    now: SystemTime,
) -> Result<Response<Full<Bytes>>, Failure> {
    match apps.keys.jwks(&*apps.store, now).await {
        Some(Ok(keys)) => Ok(answer(StatusCode::OK, "application/jwk-set+json", keys)),
        Some(Err(error)) => Err(AccessFailure::Internal(error).into()),
        None => Err(AccessFailure::NotFound.into()),
    }
}
