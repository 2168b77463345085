//! `authd serve` as a process that is supervised: how it says that it is ready, and how it stops

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::net::{Client, free_address};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const LONG: Duration = Duration::from_secs(60);
/// Less than the server accepts connections after the signal
const UNREAD: Duration = Duration::from_millis(500);

/// A process, killed when it is dropped
struct Serving(Child);

impl Serving {
    fn start(command: &mut Command) -> Self {
        Self(command.stderr(Stdio::null()).spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.0.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    async fn ended(mut self) -> Option<i32> {
        let ended = timeout(LONG, async {
            loop {
                if let Some(status) = self.0.try_wait().unwrap() {
                    return status.code();
                }
                sleep(Duration::from_millis(10)).await;
            }
        });
        ended.await.unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `authd serve` with an empty store
fn serve() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
    command.args(["serve", "--store", "memory"]);
    command
}

/// The status of a path; 0 if nothing answers
async fn status(address: SocketAddr, path: &str) -> u16 {
    let answer = Client::new().get(&format!("http://{address}{path}")).await;
    answer.map_or(0, |answer| answer.status.as_u16())
}

async fn wait_for(address: SocketAddr, path: &str, expected: u16) {
    let waited = timeout(LONG, async {
        while status(address, path).await != expected {
            sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap();
}

/// Asks for `/healthz` on a connection; `None` if it has ended
async fn ask(stream: &mut TcpStream) -> Option<String> {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.ok()?;
    let mut text = Vec::new();
    while !text.ends_with(b"ok\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.ok()?;
        text.extend(byte);
    }
    String::from_utf8(text).ok()
}

#[tokio::test]
async fn it_is_not_ready_before_it_stops_to_accept() {
    let (address, admin) = (free_address(), free_address());
    let mut command = serve();
    command.args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()]);
    let serving = Serving::start(command.args(["--lame-duck-seconds", "4"]));
    wait_for(address, "/readyz", 200).await;
    let mut kept = TcpStream::connect(address).await.unwrap();
    assert!(!ask(&mut kept).await.unwrap().contains("connection: close"));
    let begun = Instant::now();
    serving.signal(Signal::TERM);
    wait_for(admin, "/readyz", 503).await;
    wait_for(address, "/readyz", 503).await;
    assert_eq!(status(address, "/healthz").await, 200);
    // One on which requests come keeps its place, and is sent away with an answer.
    if let Some(answer) = ask(&mut kept).await {
        assert!(answer.contains("connection: close"), "{answer}");
    }
    wait_for(address, "/readyz", 0).await;
    assert!(begun.elapsed() >= Duration::from_secs(4));
    assert_eq!(serving.ended().await, Some(0));
}

#[tokio::test]
async fn the_admin_listener_alone_has_metrics() {
    let (address, admin) = (free_address(), free_address());
    let mut command = serve();
    command.args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()]);
    let _serving = Serving::start(&mut command);
    for path in ["/readyz", "/healthz"] {
        wait_for(address, path, 200).await;
        wait_for(admin, path, 200).await;
    }
    assert_eq!((status(address, "/metrics").await, status(admin, "/metrics").await), (404, 200));
    for path in ["/", "/api/v2/audit", "/login", "/@a/b/apps/c/"] {
        assert_eq!(status(admin, path).await, 404, "{path}");
    }
}

#[tokio::test]
async fn systemd_keeps_the_socket_and_is_notified() {
    let folder = std::env::temp_dir().join(format!("authd-notify-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&folder).unwrap();
    let socket = folder.join("notify");
    let notified = UnixDatagram::bind(&socket).unwrap();
    notified.set_read_timeout(Some(LONG)).unwrap();
    let notified = || {
        let mut text = [0; 256];
        let size = notified.recv(&mut text).unwrap();
        String::from_utf8(text[..size].to_vec()).unwrap().trim().to_owned()
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Waits in the socket until the process is there.
    let mut early = TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        // systemd passes sockets from descriptor 3 on, and says for which process they are.
        let mut command = Command::new("sh");
        let script = "exec env LISTEN_PID=$$ LISTEN_FDS=1 \"$0\" serve --store memory 3<&0";
        command.args(["-c", script, env!("CARGO_BIN_EXE_authd")]);
        command.stdin(OwnedFd::from(listener.try_clone().unwrap()));
        command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "60000");
        let serving = Serving::start(&mut command);
        for expected in ["READY=1", "WATCHDOG=1"] {
            while notified() != expected {}
        }
        assert!(ask(&mut early).await.is_some());
        // By now more was said than the socket holds, and it is read only after the signal.
        tokio::time::sleep(UNREAD).await;
        serving.signal(Signal::TERM);
        tokio::time::sleep(UNREAD).await;
        while notified() != "STOPPING=1" {}
        assert_eq!(serving.ended().await, Some(0));
        // Nothing accepts, and nothing is refused.
        early = TcpStream::connect(address).await.unwrap();
    }
    std::fs::remove_dir_all(folder).unwrap();
}
