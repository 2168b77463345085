//! authd on a server of plain hyper
//!
//! ```console
//! $ cargo run -p authd-http --example hyper
//! $ curl http://127.0.0.1:8080/healthz
//! ```

use std::sync::Arc;
use std::time::SystemTime;

use authd_http::{MaintenanceSettings, Service};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use store::MemoryStore;
use tokio::net::TcpListener;

#[tokio::main]
#[expect(clippy::disallowed_methods, reason = "a server is where the clock is read")]
async fn main() -> std::io::Result<()> {
    let authd = Service::builtin(&Arc::new(MemoryStore::default()), SystemTime::now);
    // Ends with the program. A server that stops in order calls `finish` then.
    let _maintenance = authd.maintain(MaintenanceSettings::default()).await;
    serve(TcpListener::bind("127.0.0.1:8080").await?, &authd).await
}

pub(crate) async fn serve(listener: TcpListener, authd: &Service) -> std::io::Result<()> {
    let mut server = http1::Builder::new();
    // With a timer hyper ends connections that send no request.
    server.timer(TokioTimer::new());
    loop {
        let (stream, peer) = listener.accept().await?;
        tokio::spawn(server.serve_connection(TokioIo::new(stream), authd.for_peer(peer)));
    }
}
