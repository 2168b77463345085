use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fair_share::Source;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use crate::Limits;
use crate::answer::{Answer, BoxError};
use crate::connection::{Connection, End};
use crate::listen::Listener;
use crate::registry::{Registry, Room};
use crate::serving::{secure, serve};
use crate::stream::Stream;
use crate::tls::Tls;

/// Accepts connections, and serves HTTP/1.1 and HTTP/2 on them
///
/// Clones share everything.
#[derive(Clone, Debug)]
pub struct Server(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    registry: Mutex<Registry>,
    all_waiting: Arc<AtomicUsize>,
    is_stopping: AtomicBool,
    is_draining: AtomicBool,
    replaced: AtomicU64,
    refused: AtomicU64,
    overdue: AtomicU64,
    /// Set once no more connections are accepted
    stops_accepting: Notify,
    /// Wakes the server when a connection has ended
    ended: Notify,
}

/// How far a server is with stopping
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Serving,
    /// Load balancers learn that it stops; it answers as before
    LameDuck,
    /// No connection is accepted any more
    Draining,
}

/// What a server has done since it was started
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Connections that are open now
    pub open: usize,
    /// Idle connections that were closed to make room for others
    pub replaced: u64,
    /// Connections that were refused, since no idle one could make room
    pub refused: u64,
    /// Connections that were closed since a head did not arrive, or an answer was not taken, in time
    pub overdue: u64,
    /// Bytes of answers that wait for their clients now, and of requests that wait for these
    pub waiting_answers: usize,
}

impl Server {
    /// A server with these limits, which serves nothing yet
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared {
            limits,
            registry: Mutex::default(),
            all_waiting: Arc::default(),
            is_stopping: AtomicBool::new(false),
            is_draining: AtomicBool::new(false),
            replaced: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            overdue: AtomicU64::new(0),
            stops_accepting: Notify::new(),
            ended: Notify::new(),
        }))
    }

    /// What this server has done so far
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            open: self.registry().open(),
            replaced: self.0.replaced.load(Ordering::Relaxed),
            refused: self.0.refused.load(Ordering::Relaxed),
            overdue: self.0.overdue.load(Ordering::Relaxed),
            waiting_answers: self.0.all_waiting.load(Ordering::Relaxed),
        }
    }

    /// Serves until `stop` resolves, and then until all connections have ended
    ///
    /// `handler` answers a request of the peer with this address; the peer of a Unix socket has no
    /// address. Once `stop` resolves, connections are still accepted for [`Limits::lame_duck`], and
    /// requests on open connections are answered for [`Limits::drain`] after that. The body of an
    /// answer may be made piece by piece while it is sent. Call it once, within a tokio runtime
    /// with timers.
    pub async fn serve<H, A, B>(
        &self,
        listeners: Vec<impl Into<Listener>>,
        handler: H,
        stop: impl Future<Output = ()>,
    ) where
        H: Fn(Option<IpAddr>, Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let handler = Arc::new(handler);
        let mut sweeps = JoinSet::new();
        sweeps.spawn(self.clone().sweep());
        let mut accepting = JoinSet::new();
        for listener in listeners {
            // A burst must not wait in the kernel's queue, which has no room for all of it, until
            // requests that are answered give way.
            let accept = self.clone().accept(listener.into(), Arc::clone(&handler));
            accepting.spawn(tokio::task::unconstrained(accept));
        }
        stop.await;
        self.0.is_stopping.store(true, Ordering::Relaxed);
        sleep(self.0.limits.lame_duck).await;
        self.0.stops_accepting.notify_waiters();
        while accepting.join_next().await.is_some() {}
        self.0.is_draining.store(true, Ordering::Relaxed);
        info!(connections = self.registry().open(), "draining");
        if timeout(self.0.limits.drain, self.all_ended()).await.is_err() {
            warn!("requests in progress were cut off by the drain timeout");
            self.registry().all().for_each(|connection| connection.end(End::Close));
        }
    }

    async fn all_ended(&self) {
        loop {
            let ended = self.0.ended.notified();
            if self.registry().open() == 0 {
                return;
            }
            ended.await;
        }
    }

    async fn accept<H, A, B>(self, mut listener: Listener, handler: Arc<H>)
    where
        H: Fn(Option<IpAddr>, Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        self.accept_until(self.0.stops_accepting.notified(), &listener, &handler).await;
        listener.refuse_new();
        self.accept_until(sleep(HANDSHAKE), &listener, &handler).await;
        for _ in 0..BACKLOG {
            match listener.arrived() {
                Ok((stream, peer)) => {
                    let peer = peer.map(|peer| peer.ip());
                    if self.make_room(peer.into()) == Room::Made {
                        self.open(stream, peer, listener.tls(), &handler);
                    }
                }
                // Its client has given up; the next ones may not have.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.log_failed_accept(&error);
                    break;
                }
            }
        }
    }

    async fn accept_until<H, A, B>(
        &self,
        stop: impl Future<Output = ()>,
        listener: &Listener,
        handler: &Arc<H>,
    ) where
        H: Fn(Option<IpAddr>, Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let mut stop = pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut stop => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let peer = peer.map(|peer| peer.ip());
                    if self.has_room(peer.into()).await {
                        self.open(stream, peer, listener.tls(), handler);
                    }
                }
                Err(error) => {
                    self.log_failed_accept(&error);
                    // Probably out of file descriptors, so an immediate retry would fail too.
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Waits for a moment until there is room for a connection of this source
    ///
    /// Meanwhile no other is accepted: all would have to wait, since no source has more than others.
    async fn has_room(&self, source: Source) -> bool {
        for _ in 0..ROOM_TRIES {
            match self.make_room(source) {
                Room::Made => return true,
                Room::Soon => sleep(ROOM_PAUSE).await,
                Room::None => break,
            }
        }
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        false
    }

    fn make_room(&self, source: Source) -> Room {
        let mut registry = self.registry();
        if registry.open() < self.0.limits.connections {
            return Room::Made;
        }
        let room = registry.replace(source, Instant::now());
        if room == Room::Made {
            self.0.replaced.fetch_add(1, Ordering::Relaxed);
        }
        room
    }

    fn log_failed_accept(&self, error: &io::Error) {
        warn!(%error, open = self.registry().open(), "cannot accept a connection");
    }

    /// Serves a connection in a task of its own
    fn open<H, A, B>(
        &self,
        mut stream: Stream,
        peer: Option<IpAddr>,
        tls: Option<&Tls>,
        handler: &Arc<H>,
    ) where
        H: Fn(Option<IpAddr>, Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let connection = Arc::new(Connection::new(peer.into(), Arc::clone(&self.0.all_waiting)));
        self.registry().add(&connection);
        if let Stream::Tcp(stream) = &stream
            && let Err(error) = stream.set_nodelay(true)
        {
            debug!(?peer, %error, "a connection keeps its delay");
        }
        let service = {
            let (server, handler) = (self.clone(), Arc::clone(handler));
            let connection = Arc::clone(&connection);
            service_fn(move |request: Request<Incoming>| {
                let (server, handler) = (server.clone(), Arc::clone(&handler));
                let connection = Arc::clone(&connection);
                // On the heap, so that hyper can give the connection back.
                Box::pin(async move {
                    let answer = server.answer(&connection, peer, request, &*handler).await;
                    Ok::<_, Infallible>(answer)
                })
            })
        };
        let (server, tls) = (self.clone(), tls.cloned());
        tokio::spawn(async move {
            let served = async {
                if let Some(tls) = tls {
                    match secure(stream, &tls, &connection).await? {
                        Some(secured) => stream = secured,
                        None => return Ok(()),
                    }
                }
                serve(stream, &connection, service).await
            };
            if let Err(error) = served.await {
                debug!(?peer, error, "connection closed early");
            }
            server.registry().remove(&connection);
            server.0.ended.notify_waiters();
        });
    }

    async fn answer<H, A, B>(
        &self,
        connection: &Arc<Connection>,
        peer: Option<IpAddr>,
        request: Request<Incoming>,
        handler: &H,
    ) -> Response<Answer>
    where
        H: Fn(Option<IpAddr>, Request<Incoming>) -> A,
        A: Future<Output = Response<B>>,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let is_http2 = request.version() == Version::HTTP_2;
        let in_progress = connection.request_begins(is_http2);
        connection.has_room(&self.0.limits).await;
        // On the heap, so that neither a kept connection nor a request that waits has room for it.
        let mut response = Box::pin(handler(peer, request)).await;
        if !is_http2 && self.stage() != Stage::Serving {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response.map(|body| Answer::new(body, connection, in_progress))
    }

    /// Ends connections whose time is over
    async fn sweep(self) {
        let Limits { head, idle, answer, .. } = self.0.limits;
        let shortest = head.min(idle).min(answer) / 4;
        let pause = shortest.clamp(Duration::from_millis(10), Duration::from_millis(500));
        loop {
            let is_stopping = self.stage() != Stage::Serving;
            sleep(if is_stopping { pause.min(Duration::from_millis(50)) } else { pause }).await;
            let now = Instant::now();
            let connections: Vec<_> = self.registry().all().cloned().collect();
            let heads: usize = connections.iter().map(|connection| connection.head()).sum();
            for connection in &connections {
                let is_greedy = heads > ALL_HEADS && connection.head() > LARGE_HEAD;
                if is_greedy {
                    connection.end(End::Close);
                }
                if is_greedy || connection.end_if_due(&self.0.limits, self.stage(), now) {
                    self.0.overdue.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn stage(&self) -> Stage {
        match &self.0 {
            shared if shared.is_draining.load(Ordering::Relaxed) => Stage::Draining,
            shared if shared.is_stopping.load(Ordering::Relaxed) => Stage::LameDuck,
            _ => Stage::Serving,
        }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        // Nothing under this lock can panic half way.
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often room is looked for, and the pause between: together a little more than a moment
const ROOM_TRIES: u32 = 60;
const ROOM_PAUSE: Duration = Duration::from_millis(25);

/// Longer than the packets of a client that has begun to connect are usually on their way
const HANDSHAKE: Duration = Duration::from_millis(100);

/// More connections than the kernel accepts in advance, on most systems
const BACKLOG: usize = 4096;

/// What heads that are arriving may hold together before the large ones are given up
const ALL_HEADS: usize = 64 * 1024 * 1024;

/// More than the head of a usual request
const LARGE_HEAD: usize = 16 * 1024;
