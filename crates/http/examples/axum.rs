//! A control plane on axum that mounts authd's routes beside its own
//!
//! ```console
//! $ cargo run -p authd-http --example axum
//! $ curl http://127.0.0.1:8080/api/v2/buildinfo
//! $ curl -X POST -d '{}' http://127.0.0.1:8080/api/v2/workspaceagents/aws-instance-identity
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use authd_http::{MaintenanceSettings, Service};
use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use store::{MemoryStore, Store};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    // `store::PgStore::connect` instead, over a control plane's database.
    let authd = authd(MemoryStore::default());
    let maintenance = authd.maintain(MaintenanceSettings::default()).await;
    let routes = routes(authd).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(TcpListener::bind("127.0.0.1:8080").await?, routes).await?;
    maintenance.finish().await;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a control plane is where the clock is read")]
pub(crate) fn authd(store: impl Store) -> Service {
    Service::builtin(&Arc::new(store), SystemTime::now)
}

/// The control plane's own routes, and authd for all other paths
pub(crate) fn routes(authd: Service) -> Router {
    let authd = authd.with_peers(|of| Some(of.get::<ConnectInfo<SocketAddr>>()?.0.into()));
    Router::new()
        .route("/api/v2/buildinfo", get(|| async { "control plane 1.0" }))
        .fallback_service(authd)
}
