#![allow(clippy::unwrap_used)] // a test whose proxy fails has failed

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// A forward proxy: tunnels and the absolute form (RFC 9110, 9.3.6; RFC 9112, 3.2.2), and
/// SOCKS 5 (RFC 1928)
///
/// Resolves `coder.invalid` to this machine, unlike any DNS resolver.
#[derive(Debug)]
pub struct ForwardProxy {
    /// The address on which the proxy listens
    pub address: SocketAddr,
    /// The first line of each request, and its `Proxy-Authorization`
    seen: Seen,
    /// The statuses to answer before any request is served
    refusals: Arc<Mutex<Vec<&'static str>>>,
}

impl ForwardProxy {
    /// Starts a proxy on a free port
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, refusals) = (Arc::<Mutex<_>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (log, script) = (Arc::clone(&seen), Arc::clone(&refusals));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, script) = (Arc::clone(&log), Arc::clone(&script));
                tokio::spawn(serve(BufReader::new(stream), log, script));
            }
        });
        Self { address, seen, refusals }
    }

    /// The first line of each request so far, and its `Proxy-Authorization`
    #[must_use]
    pub fn seen(&self) -> Vec<(String, Option<String>)> {
        self.seen.lock().unwrap().clone()
    }

    /// Answers the next requests with these statuses, the last one first
    pub fn refuse(&self, with: &[&'static str]) {
        *self.refusals.lock().unwrap() = with.to_vec();
    }
}

type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

async fn serve(
    mut stream: BufReader<TcpStream>,
    seen: Seen,
    refusals: Arc<Mutex<Vec<&'static str>>>,
) -> Option<()> {
    if stream.fill_buf().await.ok()?.first() == Some(&5) {
        return socks(stream, seen).await;
    }
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        if line == "\r\n" {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let authorization = head.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("proxy-authorization").then(|| value.to_owned())
    });
    seen.lock().unwrap().push((head[0].clone(), authorization));
    let refusal = refusals.lock().unwrap().pop();
    if let Some(refusal) = refusal {
        let answer = format!("HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.ok()?;
        return None;
    }
    let mut words = head[0].split(' ');
    let (method, target) = (words.next()?, words.next()?);
    if method == "CONNECT" {
        let mut upstream = TcpStream::connect(local(target)).await.ok()?;
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
        copy_bidirectional(&mut stream, &mut upstream).await.ok()?;
        return None;
    }
    let (authority, path) = target.strip_prefix("http://")?.split_once('/')?;
    let mut upstream = TcpStream::connect(local(authority)).await.ok()?;
    let mut passed = format!("{method} /{path} HTTP/1.1\r\n");
    for line in head[1..].iter().filter(|line| !line.to_ascii_lowercase().starts_with("proxy-")) {
        passed.push_str(&format!("{line}\r\n"));
    }
    upstream.write_all(format!("{passed}\r\n").as_bytes()).await.ok()?;
    copy_bidirectional(&mut stream, &mut upstream).await.ok()?;
    None
}

/// Resolves the name that only the proxy knows
fn local(authority: &str) -> String {
    authority.replace("coder.invalid", "127.0.0.1")
}

async fn socks(mut stream: BufReader<TcpStream>, seen: Seen) -> Option<()> {
    let [_version, methods] = stream.read_u16().await.ok()?.to_be_bytes();
    stream.read_exact(&mut vec![0; methods.into()]).await.ok()?;
    stream.write_all(&[5, 0]).await.ok()?;
    let mut request = [0; 5];
    stream.read_exact(&mut request).await.ok()?;
    // CONNECT to a domain name
    assert_eq!(request[..4], [5, 1, 0, 3]);
    let mut name = vec![0; request[4].into()];
    stream.read_exact(&mut name).await.ok()?;
    let port = stream.read_u16().await.ok()?;
    let authority = format!("{}:{port}", String::from_utf8(name).unwrap());
    seen.lock().unwrap().push((format!("SOCKS {authority}"), None));
    let mut upstream = TcpStream::connect(local(&authority)).await.ok()?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.ok()?;
    copy_bidirectional(&mut stream, &mut upstream).await.ok()?;
    None
}
