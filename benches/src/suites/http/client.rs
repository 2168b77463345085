//! Callers with a persistent connection each

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// A request that can be sent again
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) head: Parts,
    pub(super) body: Bytes,
}

/// An answer that was read to its end
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Asked {
    pub(super) fn new(request: Request<Bytes>) -> Self {
        let (head, body) = request.into_parts();
        Self { head, body }
    }

    fn request(&self) -> Request<Full<Bytes>> {
        Request::from_parts(self.head.clone(), Full::new(self.body.clone()))
    }
}

/// A caller with a connection to one server
pub(super) struct Caller {
    address: SocketAddr,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Caller {
    pub(super) fn of(address: SocketAddr, count: usize) -> Arc<[Self]> {
        (0..count).map(|_| Self { address, connection: Mutex::new(None) }).collect()
    }

    /// Sends a request, over a new connection if the server has closed the last one
    ///
    /// A server closes connections that were idle for a while, and how long other rounds take is a
    /// matter of the machine.
    pub(super) async fn ask(&self, asked: &Asked) -> Answer {
        let mut connection = self.connection.lock().await;
        for _ in 0..TRIES {
            let mut sender = match connection.take().filter(|sender| !sender.is_closed()) {
                Some(sender) => sender,
                None => connect(self.address).await,
            };
            if sender.ready().await.is_err() {
                continue;
            }
            // Fails if the server closes the connection at this moment.
            let Ok(response) = sender.send_request(asked.request()).await else { continue };
            let (head, body) = response.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            *connection = Some(sender);
            return Answer { status: head.status, headers: head.headers, body };
        }
        panic!("{} has closed {TRIES} connections", self.address);
    }
}

async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

const TRIES: usize = 5;
