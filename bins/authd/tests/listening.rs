//! `authd serve` with TLS of its own, on several addresses and Unix sockets, and a database that comes
//! late

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use common::command::{Scratch, text};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use rustix::process::{Pid, Signal, kill_process};
use testkit::net::free_address;

struct Serving {
    process: Child,
    log: BufReader<ChildStderr>,
    /// What was read of the log
    lines: Vec<String>,
}

impl Serving {
    fn start(args: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_authd"))
            .arg("serve")
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        Self { process, log, lines: Vec::new() }
    }

    /// Reads the log until a line has this text; panics if the process ends before
    fn wait_for(&mut self, text: &str) {
        loop {
            let mut line = String::new();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "{text}: {:#?}", self.lines);
            self.lines.push(line);
            if self.lines.last().is_some_and(|line| line.contains(text)) {
                return;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.process.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Makes a certificate for `localhost` with this number of days, and its key
fn make_certificate(folder: &Path, days: &str) {
    let (key, certificate) = (folder.join("new.key"), folder.join("new.crt"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", days])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::rename(key, folder.join("tls.key")).unwrap();
    fs::rename(certificate, folder.join("tls.crt")).unwrap();
}

fn get(mut stream: impl Read + Write, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // Over TLS an end without a notice would be an error.
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// Asks over TLS; returns the answer and the days until the certificate expires
fn get_over_tls(port: u16, path: &str) -> (String, i32) {
    let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let stream = connector.build().connect("localhost", stream).unwrap();
    let certificate = stream.ssl().peer_certificate().unwrap();
    let now = openssl::asn1::Asn1Time::days_from_now(0).unwrap();
    let days = now.diff(certificate.not_after()).unwrap().days;
    (get(stream, path), days)
}

fn eventually(holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn it_listens_with_tls_and_on_unix_sockets() {
    let scratch = Scratch::new();
    make_certificate(&scratch.0, "100");
    let [certificate, key] = ["tls.crt", "tls.key"].map(|file| text(&scratch.0.join(file)));
    let [one, two] = [free_address(), free_address()].map(|address| address.port());
    let socket = scratch.0.join("authd.sock");
    let admin = scratch.0.join("admin.sock");
    let listen = format!("127.0.0.1:{one},127.0.0.1:{two},unix:{}", socket.display());
    let admin_listen = format!("unix:{}", admin.display());
    let args = ["--store", "memory", "--tls-cert", &certificate, "--tls-key", &key];
    let listening = ["--listen", &listen, "--admin-listen", &admin_listen, "--socket-mode", "600"];
    let mut serving = Serving::start(&[&args[..], &listening].concat());
    serving.wait_for("listening (admin)");

    for port in [one, two] {
        let (answer, days) = get_over_tls(port, "/healthz");
        assert!(answer.starts_with("HTTP/1.1 200") && (99..=100).contains(&days), "{answer}");
    }
    let over = |path: &Path, what: &str| get(UnixStream::connect(path).unwrap(), what);
    assert!(over(&socket, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(over(&socket, "/metrics").starts_with("HTTP/1.1 404"));
    let metrics = over(&admin, "/metrics");
    let name = "authd_tls_certificate_expiration_timestamp_seconds";
    let expiry = metrics.lines().find(|line| line.starts_with(name));
    let expiry = expiry.unwrap_or_else(|| panic!("{metrics}")).rsplit(' ').next().unwrap();
    let expiry: u64 = expiry.parse().unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!((expiry - now).abs_diff(100 * 86_400) < 1_000, "{expiry}");

    // A key that does not fit changes nothing, and the next pair is used.
    let good = fs::read(&key).unwrap();
    fs::write(&key, "no key").unwrap();
    serving.signal(Signal::HUP);
    serving.wait_for("the certificate stays as it was");
    assert!((99..=100).contains(&get_over_tls(one, "/healthz").1));
    fs::write(&key, good).unwrap();
    make_certificate(&scratch.0, "10");
    serving.signal(Signal::HUP);
    eventually(|| (9..=10).contains(&get_over_tls(one, "/healthz").1));
    serving.wait_for("the certificate of this server expires soon");
    // Without a signal it is noticed within seconds.
    make_certificate(&scratch.0, "200");
    eventually(|| get_over_tls(two, "/healthz").1 >= 199);

    serving.signal(Signal::TERM);
    assert_eq!(serving.process.wait().unwrap().code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn a_certificate_that_is_not_usable_stops_the_start_and_the_check() {
    let scratch = Scratch::new();
    make_certificate(&scratch.0, "5");
    let [certificate, key] = ["tls.crt", "tls.key"].map(|file| text(&scratch.0.join(file)));
    let run = |command: &str, key: &str, certificate: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_authd"))
            .args([command, "--store", "memory", "--tls-key", key, "--tls-cert", certificate])
            .output()
            .unwrap();
        let printed = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(printed).unwrap())
    };
    let (status, printed) = run("check", &key, &certificate);
    assert_eq!(status, Some(0), "{printed}");
    assert!(printed.contains("the certificate expires in 4 days"), "{printed}");

    let other = Scratch::new();
    make_certificate(&other.0, "5");
    let other = text(&other.0.join("tls.key"));
    for (command, expected) in [("serve", 2), ("check", 1)] {
        let (status, printed) = run(command, &other, &certificate);
        assert_eq!(status, Some(expected), "{printed}");
        assert!(printed.contains("is not that of the certificate in"), "{printed}");
    }
    let alone = Command::new(env!("CARGO_BIN_EXE_authd"))
        .args(["serve", "--store", "memory", "--tls-cert", &certificate])
        .output()
        .unwrap();
    let printed = String::from_utf8(alone.stderr).unwrap();
    assert!(alone.status.code() == Some(2) && printed.contains("needs `tls_key`"), "{printed}");
}

#[test]
fn an_address_that_cannot_be_listened_on_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (address, status, problem) in [
        (&*taken, 1, &*format!("cannot listen on {taken}")),
        ("unix:/nonexistent/authd.sock", 1, "cannot listen on unix:/nonexistent/authd.sock"),
        ("unix:/etc/passwd", 1, "it exists and is not a socket"),
        ("unix:authd.sock", 2, "`listen` has `unix:authd.sock`, which is neither an address"),
        ("localhost", 2, "`listen` has `localhost`, which is neither an address"),
    ] {
        let args = ["serve", "--store", "memory", "--listen", address];
        let output = Command::new(env!("CARGO_BIN_EXE_authd")).args(args).output().unwrap();
        let printed = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{printed}");
        assert!(printed.contains(problem), "{printed}");
    }
}

#[tokio::test]
async fn it_waits_for_a_database_that_comes_late() {
    let server = testkit::OwnServer::start().await;
    let database = server.database().await;
    server.pause().await;
    let args = ["--listen", "127.0.0.1:0", "--database-url", database.url()];
    let mut serving = Serving::start(&args);
    serving.wait_for("waiting for the database");
    server.resume().await;
    serving.wait_for("listening");
    serving.signal(Signal::TERM);
    assert_eq!(serving.process.wait().unwrap().code(), Some(0));
}
