//! Unix sockets: their permissions, files that were left behind, and files of others

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};

use authd_server::{Limits, ListenAddress, Server};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("authd-socket-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("authd.sock")
    }

    fn address(&self) -> ListenAddress {
        format!("unix:{}", self.socket().display()).parse().unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn ask(socket: &Path) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn requests_over_a_unix_socket_are_answered_and_its_file_is_removed() {
    let folder = Folder::new("answered");
    let listener = folder.address().bind(0o620).unwrap();
    assert_eq!(listener.address().unwrap(), folder.address());
    let found = fs::symlink_metadata(folder.socket()).unwrap();
    assert_eq!(found.permissions().mode() & 0o777, 0o620);
    assert_eq!(folder.names(), ["authd.sock"]);

    let (stop, stopped) = oneshot::channel::<()>();
    let handler = |peer: Option<_>, _: Request<_>| async move {
        assert_eq!(peer, None);
        Response::new(Full::from(Bytes::from_static(b"hello")))
    };
    let serving = tokio::spawn(async move {
        let server = Server::new(Limits::default());
        server.serve(vec![listener], handler, async { drop(stopped.await) }).await;
    });
    for _ in 0..3 {
        assert!(ask(&folder.socket()).await.ends_with("hello"));
    }
    stop.send(()).unwrap();
    serving.await.unwrap();
    assert_eq!(folder.names(), [""; 0]);
}

#[tokio::test]
async fn only_a_socket_on_which_no_process_listens_is_replaced() {
    let folder = Folder::new("replaced");
    // As a process that was killed leaves it.
    drop(StdUnixListener::bind(folder.socket()).unwrap());
    let left = fs::symlink_metadata(folder.socket()).unwrap().ino();
    let listener = folder.address().bind(0o600).unwrap();
    assert_ne!(fs::symlink_metadata(folder.socket()).unwrap().ino(), left);

    let error = folder.address().bind(0o600).unwrap_err();
    assert!(error.to_string().contains("another process listens on it"), "{error}");
    drop(listener);

    let places: [fn(&Path); 3] = [
        |path| fs::write(path, "data").unwrap(),
        |path| fs::create_dir(path).unwrap(),
        |path| std::os::unix::fs::symlink("/etc/passwd", path).unwrap(),
    ];
    for place in places {
        place(&folder.socket());
        let error = folder.address().bind(0o600).unwrap_err();
        assert!(error.to_string().contains("not a socket"), "{error}");
        let _ = fs::remove_file(folder.socket()).or_else(|_| fs::remove_dir(folder.socket()));
    }
    let missing: ListenAddress =
        format!("unix:{}/no/authd.sock", folder.0.display()).parse().unwrap();
    assert!(missing.bind(0o600).is_err());
    assert_eq!(folder.names(), [""; 0]);
}

#[tokio::test]
async fn the_file_of_a_successor_stays() {
    let folder = Folder::new("successor");
    let old = folder.address().bind(0o600).unwrap();
    fs::remove_file(folder.socket()).unwrap();
    let new = folder.address().bind(0o600).unwrap();
    drop(old);
    assert_eq!(folder.names(), ["authd.sock"]);
    drop(new);
    assert_eq!(folder.names(), [""; 0]);
}
