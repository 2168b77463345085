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

use agent_auth::Rules;
use authd_http::{Limits, Peer, Service};
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use identity_fetch::Identity;
use store::{MemoryStore, Store};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    // `store::PgStore::connect` instead, over a control plane's database.
    let routes = routes(MemoryStore::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    axum::serve(listener, routes.into_make_service_with_connect_info::<SocketAddr>()).await
}

/// The control plane's own routes, and authd for all other paths
#[expect(clippy::disallowed_methods, reason = "a control plane is where the clock is read")]
pub(crate) fn routes<S: Store>(store: S) -> Router {
    let clock = Arc::new(SystemTime::now);
    let authd = Service::over(
        &Arc::new(store),
        Identity::builtin(),
        Rules::default(),
        Limits::default(),
        clock,
    );
    Router::new()
        .route("/api/v2/buildinfo", get(|| async { "control plane 1.0" }))
        .fallback_service(authd)
        .layer(from_fn(add_peer))
}

/// Gives authd the address of the connection
async fn add_peer(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    request.extensions_mut().insert(Peer(peer.ip()));
    next.run(request).await
}
