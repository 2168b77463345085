use std::sync::Arc;

use authd_http::Service;
use authd_server::{Limits, Listener, Server};
use tokio::net::TcpListener;

/// Serves HTTP/1.1 and HTTP/2 (h2c, prior knowledge) until `stop` resolves, and then until requests
/// in progress are answered
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    serve_on(&Server::new(limits), vec![listener.into()], service, stop).await;
}

/// Serves with a server whose counts are of interest
pub(crate) async fn serve_on(
    server: &Server,
    listeners: Vec<Listener>,
    service: Arc<Service>,
    stop: impl Future<Output = ()>,
) {
    let answer = move |peer, request| {
        let service = Arc::clone(&service);
        async move {
            match peer {
                Some(peer) => service.answer_to(peer, request).await,
                None => service.answer_to_socket(request).await,
            }
        }
    };
    server.serve(listeners, answer, stop).await;
}
