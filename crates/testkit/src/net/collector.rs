#![allow(clippy::unwrap_used)] // a test whose collector fails has failed

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A collector of OpenTelemetry, which keeps the requests that it gets over HTTP in JSON
#[derive(Clone, Debug)]
pub struct Collector {
    /// The URL without a path
    pub url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<Received>,
    /// The statuses to answer before any request is taken, the last one first
    refusals: Vec<u16>,
}

/// A request that the collector took
#[derive(Clone, Debug)]
pub struct Received {
    /// The first line and the headers
    pub head: String,
    /// The body
    pub body: Value,
}

impl Collector {
    /// Starts a collector on a free port
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(BufReader::new(stream), Arc::clone(&shared)));
            }
        });
        Self { url, state }
    }

    /// Answers the next requests with these statuses, the last one first
    pub fn refuse(&self, with: &[u16]) {
        self.state.lock().unwrap().refusals = with.to_vec();
    }

    /// The requests that were taken so far
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().requests.clone()
    }

    /// All spans so far
    #[must_use]
    pub fn spans(&self) -> Vec<Value> {
        let of_scope = |scope: &Value| scope["spans"].as_array().unwrap().clone();
        let of_request = |request: &Received| {
            let resource = &request.body["resourceSpans"][0];
            resource["scopeSpans"].as_array().unwrap().iter().flat_map(of_scope).collect::<Vec<_>>()
        };
        self.received().iter().flat_map(of_request).collect()
    }

    /// Waits until `holds` returns true of the spans so far, for thirty seconds at most
    ///
    /// # Panics
    ///
    /// Panics if it does not become true.
    pub async fn wait(&self, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        for _ in 0..1_500 {
            let spans = self.spans();
            if holds(&spans) {
                return spans;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the collector has {:?}", self.spans());
    }
}

/// Answers one request
async fn serve(mut stream: BufReader<TcpStream>, state: Arc<Mutex<State>>) -> Option<()> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        stream.read_line(&mut head).await.ok().filter(|read| *read > 0)?;
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.trim().parse().ok()?];
    stream.read_exact(&mut body).await.ok()?;
    let status = {
        let mut state = state.lock().unwrap();
        match state.refusals.pop() {
            Some(status) => status,
            None => {
                let body = serde_json::from_slice(&body).ok()?;
                state.requests.push(Received { head, body });
                200
            }
        }
    };
    let answer = format!(
        "HTTP/1.1 {status} Answer\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
         Connection: close\r\n\r\n{{}}"
    );
    stream.write_all(answer.as_bytes()).await.ok()
}
