use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use identity_fetch::{Network, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::sleep;

/// An Internet of a few names and servers
#[derive(Clone, Default)]
pub(crate) struct World(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    names: HashMap<String, VecDeque<Vec<IpAddr>>>,
    servers: HashMap<IpAddr, Server>,
    connected: Vec<SocketAddr>,
    requests: Vec<String>,
}

type Server = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

/// What a server does once it has read a request
#[derive(Clone)]
pub(crate) enum Reply {
    /// Writes those bytes and hangs up
    Bytes(Vec<u8>),
    /// Writes a head without a length, and then a body without an end
    Endless,
    /// Never writes
    Silence,
    /// Writes those bytes, one in a second
    Slow(Vec<u8>),
}

impl Reply {
    /// `200` with that body
    pub(crate) fn ok(body: impl AsRef<[u8]>) -> Self {
        Self::with("200 OK", "", body)
    }

    /// `200` with that body, to be kept for so long
    pub(crate) fn kept(max_age: u64, body: impl AsRef<[u8]>) -> Self {
        Self::with("200 OK", &format!("cache-control: public, max-age={max_age}\r\n"), body)
    }

    /// Another status
    pub(crate) fn status(status: &str) -> Self {
        Self::with(status, "", "no")
    }

    pub(crate) fn with(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Self {
        let length = body.as_ref().len();
        let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n");
        Self::Bytes([head.as_bytes(), body.as_ref()].concat())
    }
}

impl World {
    /// Resolves `host` to each of `answers` in turn, and to the last one from then on
    pub(crate) fn name(&self, host: &str, answers: &[&[&str]]) {
        let parse = |answer: &&[&str]| answer.iter().map(|ip| ip.parse().unwrap()).collect();
        let answers = answers.iter().map(parse).collect();
        self.0.lock().unwrap().names.insert(host.to_owned(), answers);
    }

    /// Puts a server at an address, replacing any that was there
    pub(crate) fn serve(
        &self,
        address: &str,
        answer: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) {
        let address = address.parse().unwrap();
        self.0.lock().unwrap().servers.insert(address, Arc::new(answer));
    }

    /// A host with one address and a server
    pub(crate) fn host(
        &self,
        host: &str,
        address: &str,
        answer: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) {
        self.name(host, &[&[address]]);
        self.serve(address, answer);
    }

    pub(crate) fn network(&self) -> Arc<dyn Network> {
        Arc::new(self.clone())
    }

    /// Where connections were opened to, or tried
    pub(crate) fn connected(&self) -> Vec<SocketAddr> {
        self.0.lock().unwrap().connected.clone()
    }

    /// The requests that arrived, heads in full
    pub(crate) fn requests(&self) -> Vec<String> {
        self.0.lock().unwrap().requests.clone()
    }

    async fn answer(self, server: Server, mut stream: DuplexStream) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => request.push(byte),
                Err(_) => return,
            }
        }
        let request = String::from_utf8(request).unwrap();
        let path = request.split(' ').nth(1).unwrap().to_owned();
        self.0.lock().unwrap().requests.push(request);
        // The client may close the connection at any time.
        let _ = match server(&path) {
            Reply::Bytes(bytes) => stream.write_all(&bytes).await,
            Reply::Silence => std::future::pending().await,
            Reply::Slow(bytes) => trickle(&mut stream, &bytes).await,
            Reply::Endless => pour(&mut stream).await,
        };
        let _ = stream.shutdown().await;
    }
}

async fn trickle(stream: &mut DuplexStream, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes {
        sleep(Duration::from_secs(1)).await;
        stream.write_all(&[*byte]).await?;
    }
    Ok(())
}

async fn pour(stream: &mut DuplexStream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    loop {
        stream.write_all(&[b' '; 1024]).await?;
    }
}

impl Network for World {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let mut inner = self.0.lock().unwrap();
            let answers = inner.names.get_mut(host).ok_or(io::ErrorKind::NotFound)?;
            let answer =
                if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
            Ok(answer.unwrap().into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
        })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let server = {
                let mut inner = self.0.lock().unwrap();
                inner.connected.push(address);
                inner.servers.get(&address.ip()).cloned().ok_or(io::ErrorKind::ConnectionRefused)?
            };
            let (ours, theirs) = duplex(4 << 10);
            tokio::spawn(self.clone().answer(server, theirs));
            let stream: Box<dyn Stream> = Box::new(ours);
            Ok(stream)
        })
    }
}
