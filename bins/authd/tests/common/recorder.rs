//! Apps that record what reaches them, and whose page attacks others

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::http1::{accept_socket, field, read_head};

/// A request that has reached an app
struct Seen {
    line: String,
    user: String,
    changes: bool,
}

/// A server in place of all apps
pub struct Recorder {
    address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Recorder {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&record)));
            }
        });
        Self { address, seen }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether a request has come whose line has that text, which changes something if `changes`
    pub fn has(&self, text: &str, changes: bool) -> bool {
        let seen = self.seen.lock().unwrap();
        seen.iter().any(|seen| seen.line.contains(text) && seen.changes == changes)
    }

    /// The users who made the requests, each once
    pub fn users(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let mut users: Vec<_> = seen.iter().map(|seen| seen.user.clone()).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    /// All lines
    pub fn all(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|seen| seen.line.clone()).collect()
    }

    pub fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }
}

/// Answers one request, with the cookie that its query names after `set=`
async fn serve(mut stream: TcpStream, record: Arc<Mutex<Vec<Seen>>>) -> Option<()> {
    let head = read_head(&mut stream).await?;
    let value = |wanted: &str| field(&head, wanted);
    let mut words = head.split(' ');
    let (method, uri) = (words.next()?, words.next()?);
    let upgrade = value("upgrade").is_some_and(|upgrade| !upgrade.is_empty());
    record.lock().unwrap().push(Seen {
        line: format!("{method} {}{uri}", value("host")?),
        user: value("x-authd-user").unwrap_or_default().to_owned(),
        changes: upgrade || !["GET", "HEAD", "OPTIONS"].contains(&method),
    });
    if upgrade {
        accept_socket(&mut stream, &head).await?;
        while stream.read_u8().await.is_ok() {}
        return Some(());
    }
    let mut left: u64 = value("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    while left > 0 {
        stream.read_u8().await.ok()?;
        left -= 1;
    }
    let (kind, body) = match uri.split('?').next()? {
        "/page" => ("text/html", PAGE),
        "/own-worker.js" => ("text/javascript", ""),
        _ if uri.contains("include-") => ("text/javascript", "self.included = true"),
        _ => ("text/html", "<!doctype html><title>app</title><p>an app</p>"),
    };
    let length = body.len();
    let cookie = uri.split_once("?set=").map_or_else(String::new, |(_, pair)| {
        format!("Set-Cookie: {pair}; Path=/; Secure; HttpOnly\r\n")
    });
    let answer = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {kind}\r\n{cookie}\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await.ok()
}

/// A page whose functions attack the address that they get, and tell what they found
const PAGE: &str = r#"<!doctype html><title>page</title><p>an app</p><script>
// In milliseconds; what is refused is found out at once, and what is not may take seconds.
const LONG = 10000;
const later = (ms) => new Promise((done) => setTimeout(done, ms));
function socket(at) {
  return new Promise((done) => {
    const socket = new WebSocket(at.replace(/^http/, 'ws'));
    socket.onopen = () => { socket.close(); done('open'); };
    socket.onerror = () => done('refused');
  });
}
// Without reading the answer, which needs no permission
async function post(at) {
  await fetch(at, { method: 'POST', mode: 'no-cors', credentials: 'include', body: 'x' });
  return 'sent';
}
async function ask(at, method) {
  try {
    const answer = await fetch(at, { method, credentials: 'include' });
    return answer.ok ? 'read' : 'refused';
  } catch { return 'refused'; }
}
const put = (at) => ask(at, 'PUT');
const read = (at) => ask(at, 'GET');
function frameOf(name, start) {
  return new Promise((done) => {
    const frame = document.createElement('iframe');
    frame.name = name;
    frame.onload = () => done(frame);
    document.body.append(frame);
    start(frame);
    setTimeout(() => done(frame), LONG);
  });
}
async function form(at) {
  const form = document.createElement('form');
  const url = new URL(at);
  form.method = 'post';
  form.action = url.origin + url.pathname;
  form.target = 'aim' + Math.random();
  for (const [name, value] of url.searchParams) {
    const field = document.createElement('input');
    [field.name, field.value] = [name, value];
    form.append(field);
  }
  document.body.append(form);
  const frame = document.createElement('iframe');
  frame.name = form.target;
  document.body.append(frame);
  await later(50);
  const loaded = new Promise((done) => { frame.onload = done; });
  form.submit();
  await Promise.race([loaded, later(LONG)]);
  return 'sent';
}
function looks(other) {
  try { return other.document.body.innerText === '' ? 'refused' : 'read'; } catch { return 'refused'; }
}
async function frame(at) {
  const frame = await frameOf('f', (frame) => { frame.src = at; });
  await later(100);
  return looks(frame.contentWindow);
}
async function popup(at) {
  const other = window.open(at);
  if (!other) return 'blocked';
  // The empty page that it has at first is open to this one, and that of another origin is not.
  for (const begun = performance.now(); !other.closed && performance.now() < begun + LONG;) {
    try { other.document.body; } catch { break; }
    await later(20);
  }
  const found = looks(other);
  other.close();
  return found;
}
// A worker of another origin's script, or for another origin's pages
async function worker(at) {
  for (const [script, scope] of [[at, undefined], ['/own-worker.js', at]]) {
    try { await navigator.serviceWorker.register(script, { scope }); return 'registered'; } catch {}
  }
  return 'refused';
}
// A script of the other app, in the page itself
async function include(at) {
  const script = document.createElement('script');
  script.src = at;
  const done = new Promise((done) => { script.onload = script.onerror = done; });
  document.body.append(script);
  await done;
  return self.included ? 'included' : 'refused';
}
</script>"#;
