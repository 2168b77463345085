use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use authd_http::Service;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use store::Store;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, info, warn};

use crate::idle::IdleTimeout;

/// Limits of connections and of the end of the server
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Open connections
    pub connections: usize,
    /// Time for the head of a request to arrive
    pub head: Duration,
    /// Time without a byte in either direction, after which a connection is closed
    pub idle: Duration,
    /// Time that answers under way have once the server stops
    pub drain: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 8192,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            drain: Duration::from_secs(20),
        }
    }
}

/// Serves HTTP/1.1 and HTTP/2 (h2c, prior knowledge) until `stop` resolves
///
/// Then it accepts no further connection, closes idle ones, and gives answers under way
/// [`ServerLimits::drain`] to finish.
pub async fn serve<S: Store + 'static>(
    listener: TcpListener,
    service: Arc<Service<S>>,
    limits: ServerLimits,
    stop: impl Future<Output = ()>,
) {
    let connections = Arc::new(Semaphore::new(limits.connections));
    let drain = GracefulShutdown::new();
    let http = http(limits.head);
    let mut stop = std::pin::pin!(stop);

    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            // At the limit nothing is accepted: the kernel queues a burst, and
            // clients beyond it see a slow server instead of a broken one.
            accepted = accept(&listener, &connections) => accepted,
        };
        let (stream, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                // Out of file descriptors, most likely: more will not help at once.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let service = Arc::clone(&service);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let service = Arc::clone(&service);
            async move { Ok::<_, Infallible>(service.answer_to(peer.ip(), request).await) }
        });
        let io = TokioIo::new(IdleTimeout::new(stream, limits.idle));
        let connection = drain.watch(http.serve_connection(io, service).into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                // A client that hangs up or does not speak HTTP is not our failure.
                debug!(%peer, error, "connection closed early");
            }
            drop(permit);
        });
    }

    drop(listener);
    info!(connections = drain.count(), "draining");
    if tokio::time::timeout(limits.drain, drain.shutdown()).await.is_err() {
        warn!("the drain timeout cut off answers under way");
    }
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, peer, permit))
}

/// Bounds on what a client may send before the application sees anything
fn http(header_timeout: Duration) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(32 * 1024);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(128)
        .max_header_list_size(16 * 1024)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    http
}
