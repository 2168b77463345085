//! Which connections a server keeps, as clients see it

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use authd_server::{Counts, Limits, ListenAddress, Listener, Server};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

struct Running {
    server: Server,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<()>,
    /// Lets requests for `/wait` be answered
    go_on: Arc<Semaphore>,
    /// One for each such request that has arrived
    waiting: Arc<Semaphore>,
}

impl Running {
    async fn start(limits: Limits) -> Self {
        Self::on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().into(), limits)
    }

    fn on(listener: Listener, limits: Limits) -> Self {
        let address = match listener.address().unwrap() {
            ListenAddress::Tcp(address) => address,
            // Its clients have the path.
            ListenAddress::Unix(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        };
        let server = Server::new(limits);
        let (stop, stopped) = oneshot::channel();
        let go_on = Arc::new(Semaphore::new(0));
        let waiting = Arc::new(Semaphore::new(0));
        let (gate, bell) = (Arc::clone(&go_on), Arc::clone(&waiting));
        let handler = move |_, request: Request<_>| {
            let (gate, bell) = (Arc::clone(&gate), Arc::clone(&bell));
            async move {
                if request.uri().path() == "/wait" {
                    bell.add_permits(1);
                    gate.acquire().await.unwrap().forget();
                }
                let size = if request.uri().path() == "/large" { 100_000 } else { 2 };
                Response::new(Full::from(vec![b'x'; size]))
            }
        };
        let ended = tokio::spawn({
            let server = server.clone();
            async move { server.serve(vec![listener], handler, async { drop(stopped.await) }).await }
        });
        Self { server, address, stop: Some(stop), ended, go_on, waiting }
    }

    fn begin_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// A connection from 127.0.0.N
    async fn from(&self, n: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::new(127, 0, 0, n), 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    async fn wait_for(&self, is_so: impl Fn(Counts) -> bool) {
        let waited = timeout(LONG, async {
            while !is_so(self.server.counts()) {
                sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "{:?}", self.server.counts());
    }
}

/// Sends a request and returns the head of its answer; `None` if the connection ends instead
async fn ask(stream: &mut TcpStream, path: &str) -> Option<String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    answer(stream).await
}

/// Reads an answer with two bytes of content
async fn answer(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\nxx") {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.ok()?;
        text.extend(byte);
    }
    String::from_utf8(text).ok()
}

/// Whether the server ends the connection within a few seconds
async fn is_ended(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    timeout(LONG, stream.read_to_end(&mut rest)).await.is_ok()
}

const LONG: Duration = Duration::from_secs(20);

fn limits() -> Limits {
    Limits { head: ms(300), idle: Duration::from_secs(60), answer: ms(300), ..Limits::default() }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[tokio::test]
async fn a_kept_connection_lives_longer_than_a_head_may_take() {
    let server = Running::start(limits()).await;
    let mut kept = server.from(1).await;
    for _ in 0..3 {
        assert!(ask(&mut kept, "/").await.is_some());
        sleep(ms(700)).await;
    }
}

#[tokio::test]
async fn requests_are_answered_while_their_connections_are_put_aside() {
    let server = Running::start(Limits { head: Duration::from_secs(60), ..limits() }).await;
    let mut clients = Vec::new();
    // Connections are put aside after half a second, as seen by a look every 75 ms.
    for n in 0..60_u64 {
        let mut stream = server.from(1).await;
        let address = server.address;
        clients.push(tokio::spawn(async move {
            for round in 0..5 {
                let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
                // Some come in two parts.
                let (one, two) = request.split_at(if n % 2 == 0 { 8 } else { request.len() });
                stream.write_all(one).await.unwrap();
                sleep(ms(n % 7)).await;
                stream.write_all(two).await.unwrap();
                let answered = answer(&mut stream).await.expect("an answer");
                if answered.contains("connection: close") {
                    stream = TcpStream::connect(address).await.unwrap();
                }
                sleep(ms(480 + 3 * n + round)).await;
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
}

#[tokio::test]
async fn a_head_that_does_not_arrive_ends_its_connection() {
    let server = Running::start(limits()).await;
    for sent_before in [false, true] {
        let mut slow = server.from(1).await;
        if sent_before {
            assert!(ask(&mut slow, "/").await.is_some());
        }
        let (mut read, mut write) = slow.into_split();
        let dribble = tokio::spawn(async move {
            for byte in b"GET / HTTP/1.1\r\nx: ".iter().chain([b'y'; 2_000].iter()) {
                if write.write_all(&[*byte]).await.is_err() {
                    break;
                }
                sleep(ms(10)).await;
            }
        });
        let mut rest = Vec::new();
        assert!(timeout(LONG, read.read_to_end(&mut rest)).await.is_ok());
        dribble.abort();
    }
    assert_eq!(server.server.counts().overdue, 2);
}

#[tokio::test]
async fn neither_silence_nor_pings_keep_a_connection_open() {
    let server = Running::start(Limits { idle: ms(400), ..limits() }).await;
    let mut silent = server.from(1).await;
    let mut used = server.from(2).await;
    assert!(ask(&mut used, "/").await.is_some());
    let (sender, pinging) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(ms(20))
        .keep_alive_while_idle(true)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(server.from(3).await))
        .await
        .unwrap();
    assert!(is_ended(&mut silent).await);
    assert!(is_ended(&mut used).await);
    assert!(timeout(LONG, pinging).await.is_ok());
    drop(sender);
    server.wait_for(|counts| counts.open == 0).await;
}

#[tokio::test]
async fn a_request_that_takes_longer_than_the_idle_time_is_answered() {
    let server = Running::start(Limits { idle: ms(100), ..limits() }).await;
    let mut waiting = server.from(1).await;
    let asked = tokio::spawn(async move { ask(&mut waiting, "/wait").await });
    sleep(ms(700)).await;
    server.go_on.add_permits(1);
    assert!(asked.await.unwrap().is_some());
}

#[tokio::test]
async fn answers_that_are_not_taken_are_limited_and_end_the_connection() {
    let limits = Limits { answer: ms(600), ..limits() };
    let server = Running::start(limits).await;
    // HTTP/2: a window of nothing, and a hundred requests for 100,000 bytes each.
    let mut closed = server.from(1).await;
    closed.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    closed.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]).await.unwrap();
    let path = b"/large";
    for n in 0..100_u8 {
        // `:method GET`, `:scheme http`, a path, an authority; ends head and stream.
        let mut head = vec![0x82, 0x86, 0x44, u8::try_from(path.len()).unwrap()];
        head.extend(path);
        head.extend([0x41, 1, b'a']);
        let stream = 2 * n + 1;
        let length = u8::try_from(head.len()).unwrap();
        let frame = [&[0, 0, length, 1, 5, 0, 0, 0, stream][..], &head].concat();
        closed.write_all(&frame).await.unwrap();
    }
    server.wait_for(|counts| counts.waiting_answers > 64 * 1024).await;
    assert!(server.server.counts().waiting_answers <= 200_000 + 100 * 4096);
    assert!(is_ended(&mut closed).await);
    // HTTP/1: as much as the kernel takes, and then nothing.
    let deaf = server.from(2).await;
    let (_unread, mut write) = deaf.into_split();
    let asking = tokio::spawn(async move {
        while write.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await.is_ok() {}
    });
    assert!(timeout(LONG, asking).await.is_ok());
    server.wait_for(|counts| counts.open == 0 && counts.waiting_answers == 0).await;
    assert_eq!(server.server.counts().overdue, 2);
}

#[tokio::test]
async fn a_newcomer_replaces_an_idle_connection_of_the_source_with_most() {
    let server = Running::start(Limits { connections: 4, ..limits() }).await;
    let mut greedy = Vec::new();
    for _ in 0..3 {
        greedy.push(server.from(1).await);
    }
    let mut other = server.from(2).await;
    assert!(ask(&mut other, "/").await.is_some());
    let mut third = server.from(3).await;
    assert!(ask(&mut third, "/").await.is_some());
    assert!(is_ended(&mut greedy[0]).await, "the oldest");
    assert!(ask(&mut greedy[1], "/").await.is_some());
    assert!(ask(&mut other, "/").await.is_some());

    // Requests in progress are not cut off for a newcomer.
    let mut busy = Vec::new();
    for mut stream in [greedy.remove(1), greedy.remove(1), other, third] {
        busy.push(tokio::spawn(async move { ask(&mut stream, "/wait").await }));
    }
    server.waiting.acquire_many(4).await.unwrap().forget();
    assert!(ask(&mut server.from(4).await, "/").await.is_none());
    let Counts { replaced, refused, .. } = server.server.counts();
    assert_eq!((replaced, refused), (1, 1));
    server.go_on.add_permits(4);
    for asked in busy {
        assert!(asked.await.unwrap().is_some());
    }
}

#[tokio::test]
async fn of_sources_with_one_connection_the_one_idle_for_longest_makes_room() {
    let server = Running::start(Limits { connections: 2, ..limits() }).await;
    let start = Instant::now();
    let mut first = server.from(9).await;
    sleep(ms(300)).await;
    let mut second = server.from(2).await;
    // The requests of both are perhaps on their way, so that the third waits.
    let mut third = server.from(3).await;
    assert!(ask(&mut third, "/").await.is_some());
    assert!(start.elapsed() >= ms(1000));
    assert!(is_ended(&mut first).await);
    assert!(ask(&mut second, "/").await.is_some());
    assert_eq!(server.server.counts().replaced, 1);
}

#[tokio::test]
async fn stopping_answers_what_arrives_and_says_that_connections_end() {
    let limits = Limits { lame_duck: Duration::from_secs(2), ..limits() };
    let mut server = Running::start(limits).await;
    let mut busy = server.from(1).await;
    busy.write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut kept = server.from(1).await;
    assert!(!ask(&mut kept, "/").await.unwrap().contains("connection: close"));
    server.begin_stop();
    sleep(ms(200)).await;
    // A request on a kept connection, and one on a new connection.
    let mut late = server.from(1).await;
    for stream in [&mut kept, &mut late] {
        assert!(ask(stream, "/").await.unwrap().contains("connection: close"));
        assert!(is_ended(stream).await);
    }
    assert!(!server.ended.is_finished());
    // Then none is accepted, and what is in progress is still answered.
    let refused = timeout(LONG, async {
        while TcpStream::connect(server.address).await.is_ok() {
            sleep(ms(20)).await;
        }
    });
    assert!(refused.await.is_ok());
    server.go_on.add_permits(1);
    assert!(answer(&mut busy).await.unwrap().contains("connection: close"));
    assert!(timeout(LONG, server.ended).await.is_ok());
}

#[tokio::test]
async fn connections_that_rest_are_answered_for_as_long_as_load_balancers_may_use_them() {
    let limits = Limits { lame_duck: Duration::from_secs(3), ..limits() };
    let mut server = Running::start(limits).await;
    let mut rested = [server.from(1).await, server.from(1).await, server.from(1).await];
    for stream in &mut rested {
        assert!(ask(stream, "/").await.is_some());
    }
    // Longer than the moment after which draining ends them.
    sleep(ms(1300)).await;
    server.begin_stop();
    for stream in &mut rested[..2] {
        sleep(ms(700)).await;
        assert!(ask(stream, "/").await.unwrap().contains("connection: close"));
    }
    assert!(is_ended(&mut rested[2]).await, "while the server drains");
    assert!(timeout(LONG, server.ended).await.is_ok());
}

/// One request on a connection of its own; `None` if the server refused the connection
fn ask_once(address: &ListenAddress) -> Option<std::io::Result<String>> {
    fn ask(mut stream: impl Read + Write) -> std::io::Result<String> {
        let mut answer = String::new();
        stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
    let asked = match address {
        ListenAddress::Tcp(address) => std::net::TcpStream::connect(address).map(ask),
        ListenAddress::Unix(path) => std::os::unix::net::UnixStream::connect(path).map(ask),
    };
    match asked.map_err(|error| error.kind()) {
        Err(ErrorKind::ConnectionRefused | ErrorKind::NotFound) => None,
        asked => Some(asked.unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_answered_or_refused_and_never_reset() {
    let file = std::env::temp_dir().join(format!("authd-never-reset-{}", std::process::id()));
    let tcp = ListenAddress::Tcp((Ipv4Addr::LOCALHOST, 0).into());
    for round in 0..10 {
        let address = if round % 2 == 0 { &tcp } else { &ListenAddress::Unix(file.clone()) };
        let listener = address.bind(0o600).unwrap();
        let address = listener.address().unwrap();
        let mut server = Running::on(listener, limits());
        let clients: Vec<_> = (0..16)
            .map(|_| {
                let address = address.clone();
                tokio::task::spawn_blocking(move || {
                    let answers = std::iter::from_fn(|| ask_once(&address));
                    answers.map(|answer| answer.map(|text| text.contains("200 OK"))).collect()
                })
            })
            .collect();
        sleep(ms(100)).await;
        server.begin_stop();
        for client in clients {
            let answers: Vec<std::io::Result<bool>> = client.await.unwrap();
            let lost = answers.iter().find(|answer| !matches!(answer, Ok(true)));
            assert!(lost.is_none(), "round {round}: {lost:?} of {}", answers.len());
        }
        assert!(timeout(LONG, server.ended).await.is_ok());
    }
}

#[tokio::test]
async fn stopping_ends_unused_connections_and_is_limited_in_time() {
    let mut server = Running::start(Limits { drain: Duration::from_secs(3), ..limits() }).await;
    let mut unused = server.from(1).await;
    assert!(ask(&mut unused, "/").await.is_some());
    let mut silent = server.from(2).await;
    let mut stuck = server.from(3).await;
    stuck.write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    server.wait_for(|counts| counts.open == 3).await;
    let start = Instant::now();
    server.begin_stop();
    assert!(is_ended(&mut unused).await && is_ended(&mut silent).await);
    assert!(start.elapsed() < Duration::from_secs(3));
    assert!(timeout(LONG, server.ended).await.is_ok());
    assert!(start.elapsed() >= Duration::from_secs(3));
    assert!(is_ended(&mut stuck).await);
}
