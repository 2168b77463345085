use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use authd_http::{IdleTimeout, Service};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use store::Store;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, info, warn};

use crate::config::ServerLimits;

/// Serves HTTP/1.1 and HTTP/2 (h2c, prior knowledge) until `stop` resolves
///
/// Then it accepts no more connections, closes idle ones, and gives requests in progress
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
            // At the limit nothing is accepted: the kernel queues a burst, and clients see a slow
            // server instead of a broken one.
            accepted = accept(&listener, &connections) => accepted,
        };
        let (stream, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                // Probably out of file descriptors, so an immediate retry would fail too.
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
                // Clients that hang up or do not speak HTTP are not an error of the server.
                debug!(%peer, error, "connection closed early");
            }
            drop(permit);
        });
    }

    drop(listener);
    info!(connections = drain.count(), "draining");
    if tokio::time::timeout(limits.drain, drain.shutdown()).await.is_err() {
        warn!("requests in progress were cut off by the drain timeout");
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

/// The limits on what a client may send before the service sees a request
fn http(header_timeout: Duration) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(HEAD_BYTES);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(128)
        .max_header_list_size(16 * 1024)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    http
}

/// The size of a request's head over HTTP/1.1
///
/// Enough for the check of a request whose address and other headers have 64 KiB each, as proxies
/// admit them. An address alone can have 65,534 bytes, a limit of the `http` crate.
const HEAD_BYTES: usize = 160 * 1024;
