//! A web server on loopback, and the endpoints of the test clouds on it
//!
//! For tests of what fetches: each cloud's metadata service, Google's key set,
//! Azure's issuers. It runs in threads of its own until it is dropped.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::json;

use super::{aws, azure, google};

/// A web server on a port of its own
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    handlers: Mutex<BTreeMap<(String, String), Handler>>,
    requests: Mutex<Vec<Request>>,
    stopped: AtomicBool,
}

/// Answers requests of one method for one path
pub type Handler = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let routes: Vec<_> = lock(&self.handlers).keys().cloned().collect();
        f.debug_struct("Shared").field("routes", &routes).finish()
    }
}

impl Server {
    /// Starts a server that answers 404 to everything
    ///
    /// # Panics
    ///
    /// If no port of the loopback address can be had.
    #[must_use]
    pub fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Starts such a server at an address; port 0 is one of its own
    ///
    /// # Panics
    ///
    /// If the address cannot be had.
    #[must_use]
    pub fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let for_thread = Arc::clone(&shared);
        let listening = thread::spawn(move || {
            for stream in listener.incoming() {
                if for_thread.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&for_thread);
                // A client that goes away is not an error of the server.
                thread::spawn(move || stream.and_then(|stream| shared.answer(&stream)));
            }
        });
        Self { address, shared, listening: Some(listening) }
    }

    /// Where it listens
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of `path` on this server
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers requests of `method` for `path`, in place of what did so before
    pub fn on(
        &self,
        method: &str,
        path: &str,
        handler: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) {
        let route = (method.to_owned(), path.to_owned());
        lock(&self.shared.handlers).insert(route, Arc::new(handler));
    }

    /// What answers requests of `method` for `path` so far
    #[must_use]
    pub fn handler(&self, method: &str, path: &str) -> Option<Handler> {
        lock(&self.shared.handlers).get(&(method.to_owned(), path.to_owned())).cloned()
    }

    /// Answers GET requests for `path` always with the same
    pub fn serve(&self, path: &str, answer: Answer) {
        self.on("GET", path, move |_| answer.clone());
    }

    /// Every request so far, in the order they came
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// Serves AWS's metadata: a session token, then document and signatures to it
    ///
    /// `/signature` is by `small`, `/rsa2048` by `large`, as in a real region.
    pub fn serve_aws(&self, small: &aws::Cloud, large: &aws::Cloud, document: &str) {
        const TOKEN: &str = "test-session-token";
        self.on("PUT", "/latest/api/token", |request| {
            match request.header("x-aws-ec2-metadata-token-ttl-seconds") {
                Some(_) => Answer::ok(TOKEN),
                None => Answer::status(400),
            }
        });
        for (name, body) in [
            ("document", document.to_owned()),
            ("signature", small.sign(document.as_bytes())),
            ("rsa2048", large.sign_pkcs7(document.as_bytes())),
        ] {
            let path = format!("/latest/dynamic/instance-identity/{name}");
            self.on("GET", &path, move |request| {
                match request.header("x-aws-ec2-metadata-token") {
                    Some(TOKEN) => Answer::ok(&body),
                    _ => Answer::status(401),
                }
            });
        }
    }

    /// Serves Azure's metadata: attested data, with the nonce that is asked for
    pub fn serve_azure(&self, leaf: &azure::Leaf, document: &azure::Document) {
        let (leaf, document) = (leaf.clone(), document.clone());
        self.on("GET", "/metadata/attested/document", move |request| {
            if request.header("metadata") != Some("true") || request.query("api-version").is_none()
            {
                return Answer::status(400);
            }
            let mut document = document.clone();
            if let Some(nonce) = request.query("nonce") {
                document.nonce = nonce;
            }
            let signature = leaf.sign(document.to_json().as_bytes());
            Answer::ok(&json!({"encoding": "pkcs7", "signature": signature}).to_string())
        });
    }

    /// Serves Google's metadata: identity tokens for the audience that is asked for
    pub fn serve_google(&self, cloud: &google::Cloud, claims: &google::Claims) {
        let (cloud, claims) = (cloud.clone(), claims.clone());
        let path = "/computeMetadata/v1/instance/service-accounts/default/identity";
        self.on("GET", path, move |request| {
            let Some(audience) = request.query("audience") else { return Answer::status(400) };
            if request.header("metadata-flavor") != Some("Google") {
                return Answer::status(403);
            }
            let mut claims = claims.clone().with("/aud", json!(audience));
            if request.query("format").as_deref() != Some("full") {
                claims = claims.without("/google");
            }
            Answer::ok(&cloud.sign(&claims.to_json())).with_header("Metadata-Flavor", "Google")
        });
    }

    /// Serves Google's key set at `path`, good for `max_age` seconds
    pub fn serve_jwks(&self, path: &str, cloud: &google::Cloud, max_age: u32) {
        let caching = format!("public, max-age={max_age}, must-revalidate");
        self.serve(path, Answer::ok(&cloud.jwks_json()).with_header("Cache-Control", &caching));
    }

    /// Serves the certificate of one of Azure's issuers at `path`
    pub fn serve_issuer(&self, path: &str, issuer: &azure::Authority) {
        self.serve(path, Answer { body: issuer.der(), ..Answer::status(200) });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // The listener waits for one more connection, to see that it is to stop. Then the
        // port is free.
        if TcpStream::connect(self.address).is_ok() {
            let _ = self.listening.take().map(thread::JoinHandle::join);
        }
    }
}

impl Shared {
    fn answer(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let Some(request) = Request::read(stream)? else { return Ok(()) };
        let route = (request.method.clone(), request.path.clone());
        let handler = lock(&self.handlers).get(&route).cloned();
        lock(&self.requests).push(request.clone());
        handler.map_or_else(|| Answer::status(404), |handler| handler(&request)).write(stream)
    }
}

/// What a client asked
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `PUT` and so on
    pub method: String,
    /// The path without the query
    pub path: String,
    /// The body, if the client said how long it is
    pub body: Vec<u8>,
    query: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// The first header of that name, which is compared without case
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |(own, _): &&(String, String)| own.eq_ignore_ascii_case(name);
        self.headers.iter().find(named).map(|(_, value)| value.as_str())
    }

    /// The first parameter of that name in the query, decoded
    #[must_use]
    pub fn query(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(own, _)| *own == name).map(|(_, value)| percent_decode(value))
    }

    fn read(stream: &TcpStream) -> std::io::Result<Option<Self>> {
        let mut reader = BufReader::new(stream.take(1 << 20));
        let mut lines = reader.by_ref().lines();
        let Some(first) = lines.next().transpose()? else { return Ok(None) };
        let mut words = first.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = Vec::new();
        for line in lines {
            let line = line?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut request = Self {
            method: method.to_owned(),
            path: path.to_owned(),
            body: Vec::new(),
            query: query.to_owned(),
            headers,
        };
        let length = request.header("content-length").and_then(|length| length.parse().ok());
        request.body.resize(length.map_or(0, |length: usize| length.min(1 << 20)), 0);
        reader.read_exact(&mut request.body)?;
        Ok(Some(request))
    }
}

/// What is answered
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code
    pub status: u16,
    /// Headers beside those of the body's length and the connection's end
    pub headers: Vec<(String, String)>,
    /// The body
    pub body: Vec<u8>,
    /// How long to wait before answering
    pub delay: Duration,
    /// Whether the connection ends before the last byte of the body
    pub is_broken: bool,
}

impl Answer {
    /// 200 with a body
    #[must_use]
    pub fn ok(body: &str) -> Self {
        Self { body: body.as_bytes().to_owned(), ..Self::status(200) }
    }

    /// A status without a body
    #[must_use]
    pub const fn status(status: u16) -> Self {
        let delay = Duration::ZERO;
        Self { status, headers: Vec::new(), body: Vec::new(), delay, is_broken: false }
    }

    /// The same answer with one more header
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same answer, `delay` later
    #[must_use]
    pub const fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The same answer, which breaks off before its end
    #[must_use]
    pub const fn broken(mut self) -> Self {
        self.is_broken = true;
        self
    }

    fn write(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        thread::sleep(self.delay);
        let mut head = format!("HTTP/1.1 {} Test\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let length = self.body.len() + usize::from(self.is_broken);
        head.push_str(&format!("Content-Length: {length}\r\n\r\n"));
        stream.write_all(&[head.as_bytes(), &self.body].concat())
    }
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let escaped = || {
            let digits = [rest.clone().next()?, rest.clone().nth(1)?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()
        };
        match (byte, escaped()) {
            (b'%', Some(decoded)) => {
                bytes.push(decoded);
                rest.nth(1);
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
