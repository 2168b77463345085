//! A control plane that carries the apps of its workspaces, and closes what is not allowed any more
//!
//! It is the example `protect_apps` with one more part: a list of open connections (`open.rs`). authd
//! says which of them may not be allowed any more: a session has ended, a share was withdrawn, a user
//! was suspended, a workspace was stopped. The carrier (`carrier.rs`) then closes them, be they
//! WebSockets, downloads or streams, within two seconds.

mod carrier;
mod open;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use authd_http::{AppsConfig, AuthorizeLayer, MaintenanceSettings, Service};
use axum::extract::ConnectInfo;
use axum::{BoxError, Router};
use store::{MemoryStore, Store};
use tokio::net::TcpListener;

pub(crate) use self::carrier::Carrier;
pub(crate) use self::open::OpenConnections;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // `store::PgStore::connect` instead, over a control plane's database.
    let authd = authd(&Arc::new(MemoryStore::default()))?;
    let maintenance = authd.maintain(MaintenanceSettings::default()).await;
    let open = OpenConnections::default();
    tokio::spawn(open.clone().follow(authd.clone()));
    let agents = "10.1.0.0/16".parse()?;
    let carrier = Carrier { agents, timeout: Duration::from_secs(600), open };
    let routes = routes(authd, carrier).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(TcpListener::bind("127.0.0.1:8080").await?, routes).await?;
    maintenance.finish().await;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a control plane is where the clock is read")]
pub(crate) fn authd<S: Store>(store: &Arc<S>) -> Result<Service, BoxError> {
    let (url, hosts) = ("http://coder.example.com".parse()?, "*.apps.example.com".parse()?);
    let authd = Service::builtin(store, SystemTime::now)
        .with_revocations(Arc::clone(store))
        .with_apps(Arc::clone(store), AppsConfig::with_hosts(url, hosts))
        .with_peers(|of| Some(of.get::<ConnectInfo<SocketAddr>>()?.0.into()));
    Ok(authd)
}

/// authd, and around it the layer that keeps requests for apps from it
pub(crate) fn routes(authd: Service, carrier: Carrier) -> Router {
    let carry = move |allowed, request| carrier.clone().carry(allowed, request);
    let apps = AuthorizeLayer::new(authd.clone(), carry);
    Router::new().fallback_service(authd).layer(apps)
}
