//! An app behind a proxy: reports its request, streams, echoes on a WebSocket
//!
//! The last segment of the path selects the answer: `events` sends one event, and two more when
//! the test requests them, in chunks or until the end of the connection; `down` sends five
//! megabytes; `moved` redirects to the query; `status` answers with the status in the query, and
//! with a challenge; `part` with a part of a file; `trailers` with a field after the body; `cookies`
//! sets cookies; any other path is answered with the request.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// The head of a request, byte by byte
#[derive(Clone, Debug)]
pub struct Head {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// The length of the body
    pub body: usize,
}

impl Head {
    fn parse(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        let mut first = lines.next().unwrap().split(' ');
        let (method, target) = (first.next().unwrap(), first.next().unwrap());
        let fields = lines.filter_map(|line| line.split_once(':'));
        let headers = fields.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: headers.collect(),
            body: 0,
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        values.next().map(|(_, value)| &**value)
    }

    /// The cookies with that name, in order
    pub fn cookies(&self, wanted: &str) -> Vec<&str> {
        let lines = self.headers.iter().filter(|(name, _)| name == "cookie");
        let pairs = lines.flat_map(|(_, line)| line.split(';'));
        let named =
            pairs.map(|pair| pair.trim().split_once('=').unwrap_or_else(|| (pair.trim(), "")));
        named.filter(|(name, _)| *name == wanted).map(|(_, value)| value).collect()
    }

    fn echo(&self) -> Value {
        let Self { method, target, headers, body } = self;
        json!({ "method": method, "target": target, "headers": headers, "body": body })
    }
}

/// The part of an app that a test reads and controls
#[derive(Clone)]
pub struct App {
    pub address: String,
    seen: Arc<Mutex<Vec<Head>>>,
    /// The number of requests so far
    begun: watch::Sender<u64>,
    /// A permit for each event that may be sent
    events: Arc<Semaphore>,
}

impl App {
    pub async fn start() -> Self {
        let (app, listener) = Self::bind().await;
        let serving = app.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let app = serving.clone();
                tokio::spawn(async move {
                    let mut stream = stream;
                    let head = app.read(&mut stream).await?;
                    app.answer(&mut stream, &head).await
                });
            }
        });
        app
    }

    /// An app whose connections the caller accepts
    pub async fn bind() -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = Self {
            address: listener.local_addr().unwrap().to_string(),
            seen: Arc::default(),
            begun: watch::Sender::default(),
            events: Arc::new(Semaphore::new(0)),
        };
        (app, listener)
    }

    /// The requests since the last call
    pub fn seen(&self) -> Vec<Head> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// Changes when a request begins
    pub fn begun(&self) -> watch::Receiver<u64> {
        let mut begun = self.begun.subscribe();
        begun.mark_unchanged();
        begun
    }

    /// Permits one more event
    pub fn send_event(&self) {
        self.events.add_permits(1);
    }

    /// Reads a whole request; `None` if it ends early
    pub async fn read(&self, stream: &mut TcpStream) -> Option<Head> {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            text.push(stream.read_u8().await.ok()?);
        }
        self.begun.send_modify(|begun| *begun += 1);
        let mut head = Head::parse(&String::from_utf8_lossy(&text));
        head.body = read_body(stream, &head).await?;
        self.seen.lock().unwrap().push(head.clone());
        Some(head)
    }

    /// Answers a request by its path
    pub async fn answer(&self, stream: &mut TcpStream, head: &Head) -> Option<()> {
        let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
        if head.header("upgrade") == Some("websocket") {
            let cookies = if path.ends_with("/cookies") { set_cookies() } else { String::new() };
            let switch = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\n{cookies}\r\n"
            );
            stream.write_all(switch.as_bytes()).await.ok()?;
            let mut echoed = [0; 64];
            while let length @ 1.. = stream.read(&mut echoed).await.ok()? {
                stream.write_all(&echoed[..length]).await.ok()?;
            }
            return Some(());
        }
        match path.rsplit('/').next().unwrap() {
            "events" => {
                let is_chunked = query == "chunked";
                let ends =
                    if is_chunked { "Transfer-Encoding: chunked" } else { "Connection: close" };
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{ends}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.ok()?;
                for n in 1..=3 {
                    if n > 1 {
                        self.events.acquire().await.unwrap().forget();
                    }
                    let event = format!("data: {n}\n\n");
                    let event = if is_chunked { format!("9\r\n{event}\r\n") } else { event };
                    stream.write_all(event.as_bytes()).await.ok()?;
                }
                if is_chunked { stream.write_all(b"0\r\n\r\n").await.ok() } else { Some(()) }
            }
            "down" => {
                let head =
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5242880\r\n\r\n";
                stream.write_all(head.as_bytes()).await.ok()?;
                stream.write_all(&vec![b'x'; 5 << 20]).await.ok()
            }
            "status" => {
                let bodiless = ["204", "205", "304"].contains(&query);
                let text = if bodiless { String::new() } else { format!("own {query}") };
                let length = text.len();
                let length =
                    if bodiless { "".into() } else { format!("Content-Length: {length}\r\n") };
                let answer = format!(
                    "HTTP/1.1 {query} Own\r\nConnection: close\r\n{length}ETag: \"own\"\r\n\
                     WWW-Authenticate: Basic realm=\"own\"\r\nServer: own\r\n\r\n{text}"
                );
                stream.write_all(answer.as_bytes()).await.ok()
            }
            "part" => {
                let range = head.header("range")?.to_owned();
                let answer = format!(
                    "HTTP/1.1 206 Partial Content\r\nConnection: close\r\nContent-Length: 3\r\n\
                     Content-Range: bytes 2-4/10\r\nX-Asked: {range}\r\n\r\n234"
                );
                stream.write_all(answer.as_bytes()).await.ok()
            }
            "trailers" => {
                let answer = "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
                              4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.ok()
            }
            "cookies" => {
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n{}\r\n",
                    set_cookies()
                );
                stream.write_all(answer.as_bytes()).await.ok()
            }
            _ if head.method == "HEAD" => {
                let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1234\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.ok()
            }
            "moved" => {
                let answer = format!(
                    "HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\n\
                     Location: {query}\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).await.ok()
            }
            _ => respond(stream, 200, &head.echo()).await,
        }
    }
}

/// Headers of the same answer, which hold for the whole origin
pub const OF_ORIGIN: [(&str, &str); 3] = [
    ("strict-transport-security", "max-age=0"),
    ("nel", "{\"report_to\":\"evil\",\"max_age\":86400,\"success_fraction\":1}"),
    ("secure-session-registration", "(ES256);path=\"x\""),
];

/// Another one, with the path `/`, which below a path becomes that of the app
pub const SERVICE_WORKER_ALLOWED: &str = "service-worker-allowed";

/// Cookies that `cookies` sets, beside what it must not do, and what a browser may be given of each; empty if nothing
pub const COOKIES: [(&str, &str); 18] = [
    ("own=1; Path=/; HttpOnly", "own=1; Path=/; HttpOnly"),
    ("wide=1; Domain=test.coder.com; Path=/", "wide=1; Path=/"),
    ("wider=1;domain = .coder.com;DOMAIN=com; Secure", "wider=1; Secure"),
    ("coder=1; SameSite=None; Secure", "coder=1; SameSite=None; Secure"),
    (BEHIND_TABS, "tabs=1; Path=/"),
    ("x=coder_session_token=1", "x=coder_session_token=1"),
    ("domain=1; Path=/domain=x", "domain=1; Path=/domain=x"),
    ("coder_session_token=evil; Path=/", ""),
    ("Coder_Session_Token=evil", ""),
    ("__Host-coder_session_token=evil; Secure; Path=/", ""),
    (" =coder_session_token=evil", ""),
    ("coder_signed_app_token=evil; Domain=coder.com", ""),
    ("coder_subdomain_app_session_token_0a1b=evil", ""),
    ("coder_path_app_session_token=evil", ""),
    ("__Secure-authd_sign_in=evil; Secure", ""),
    ("__Host-coder_signed_app_token =evil; Path=/; Secure; HttpOnly; SameSite=Lax", ""),
    ("dev-coder_session_token=evil; Path=/", ""),
    ("\tcoder_subdomain_app_session_token=evil; Path=/", ""),
];

/// The attribute `Domain` as browsers read it, and nginx does not
pub const BEHIND_TABS: &str = "tabs=1;\tDomain\t=\tcoder.com; Path=/";

fn set_cookies() -> String {
    let cookies = COOKIES.map(|(cookie, _)| format!("Set-Cookie: {cookie}\r\n")).concat();
    let of_origin = OF_ORIGIN.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    let of_origin = format!("{of_origin}{SERVICE_WORKER_ALLOWED}: /\r\n");
    format!("{cookies}{of_origin}Clear-Site-Data: \"cookies\"\r\nX-Accel-Redirect: /login\r\n")
}

/// Answers with JSON and `Connection: close`
pub async fn respond(stream: &mut TcpStream, status: u16, body: &Value) -> Option<()> {
    let body = body.to_string();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} Status\r\nConnection: close\r\nContent-Length: {length}\r\n\
         Content-Type: application/json\r\nSet-Cookie: app=1; Path=/\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await.ok()
}

/// Reads the body in either form and returns its length
async fn read_body(stream: &mut TcpStream, head: &Head) -> Option<usize> {
    let mut read = async |length: usize| {
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).await.ok()?;
        Some(bytes)
    };
    if let Some(length) = head.header("content-length") {
        return Some(read(length.parse().ok()?).await?.len());
    }
    let mut total = 0;
    while head.header("transfer-encoding").is_some() {
        let mut size = String::new();
        while !size.ends_with("\r\n") {
            size.push(char::from(read(1).await?[0]));
        }
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        read(size + 2).await?;
        total += size;
        if size == 0 {
            break;
        }
    }
    Some(total)
}
