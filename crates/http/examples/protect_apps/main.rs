//! A control plane on axum that protects the apps of its workspaces with authd, and carries them
//! itself
//!
//! Sign-in, redirects, tokens, pages and the audit are authd's. The control plane has its own
//! routes, and a carrier (`carrier.rs`) that knows how to reach an app.

mod carrier;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use authd_http::{AppsConfig, AuthorizeLayer, MaintenanceSettings, Service};
use axum::extract::ConnectInfo;
use axum::routing::get;
use axum::{BoxError, Router};
use store::{MemoryStore, Store};
use tokio::net::TcpListener;

pub(crate) use self::carrier::Carrier;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // `store::PgStore::connect` instead, over a control plane's database.
    let authd = authd(MemoryStore::default())?;
    let maintenance = authd.maintain(MaintenanceSettings::default()).await;
    let carrier = Carrier { agents: "10.1.0.0/16".parse()?, timeout: Duration::from_secs(600) };
    let routes = routes(authd, carrier).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(TcpListener::bind("127.0.0.1:8080").await?, routes).await?;
    maintenance.finish().await;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a control plane is where the clock is read")]
pub(crate) fn authd(store: impl Store) -> Result<Service, BoxError> {
    let (url, hosts) = ("http://coder.example.com".parse()?, "*.apps.example.com".parse()?);
    let store = Arc::new(store);
    let authd = Service::builtin(&store, SystemTime::now)
        .with_apps(store, AppsConfig::with_hosts(url, hosts))
        .with_peers(|of| Some(of.get::<ConnectInfo<SocketAddr>>()?.0.into()));
    Ok(authd)
}

/// The control plane's own routes, authd for all other paths, and around both the layer that
/// keeps requests for apps from them
pub(crate) fn routes(authd: Service, carrier: Carrier) -> Router {
    let carry = move |allowed, request| carrier.carry(allowed, request);
    let apps = AuthorizeLayer::new(authd.clone(), carry);
    Router::new()
        .route("/api/v2/buildinfo", get(|| async { "control plane 1.0" }))
        .fallback_service(authd)
        .layer(apps)
}
