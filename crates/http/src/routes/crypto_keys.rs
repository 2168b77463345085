//! Keys for proxies: secrets for registered proxies, or public keys for everyone

use std::time::SystemTime;

use app_authz::token::{CryptoKey, Feature};
use chrono::{DateTime, SecondsFormat, Utc};
use http::StatusCode;
use serde::Serialize;

use super::app_tokens::authenticate_proxy;
use crate::apps::{AppService, parameter, parameters};
use crate::context::Context;
use crate::error::{AccessError, Error};
use crate::ports::AppPorts;
use crate::reply::{Response, content, json};

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
/// Only for the two features of apps. If app tokens are verified with public keys, the secrets
/// that sign them are not served.
pub(crate) async fn for_proxy<S: AppPorts>(
    apps: &AppService<S>,
    cx: &Context<'_>,
) -> Result<Response, Error> {
    authenticate_proxy(apps, cx).await?;
    let parameters = parameters(cx.query);
    let invalid = |detail: &str| AccessError::invalid("Invalid feature.", detail);
    let feature = match parameter(&parameters, "feature").unwrap_or_default().parse() {
        Ok(Feature::WorkspaceAppsToken) if !apps.keys.are_shared_secrets() => {
            return Err(invalid("App tokens are verified with the keys of `jwks.json`.").into());
        }
        Ok(feature @ (Feature::WorkspaceAppsToken | Feature::WorkspaceAppsApiKey)) => feature,
        _ => {
            let known = "It is `workspace_apps_token` or `workspace_apps_api_key`.";
            return Err(invalid(known).into());
        }
    };
    let rows = apps.store.keys(feature).await.map_err(AccessError::store)?;
    let good = rows.iter().filter(|row| row.deletes_at.is_none_or(|end| cx.now < end));
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
pub(crate) async fn public<S: AppPorts>(
    apps: &AppService<S>,
    cx: &Context<'_>,
) -> Result<Response, Error> {
    match apps.keys.jwks(&*apps.store, cx.now).await {
        Some(Ok(keys)) => Ok(content(StatusCode::OK, "application/jwk-set+json", keys)),
        Some(Err(error)) => Err(AccessError::Internal(error).into()),
        None => Err(AccessError::NotFound.into()),
    }
}
