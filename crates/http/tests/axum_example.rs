//! The example of a control plane on axum does what it says

#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../examples/axum.rs"]
#[allow(dead_code, reason = "the test does not call `main`")]
mod example;

use std::net::SocketAddr;

use store::MemoryStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn authd_answers_beside_the_routes_of_the_control_plane() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = example::routes(MemoryStore::default());
    let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
    let serving = tokio::spawn(async move { axum::serve(listener, routes).await });

    let own = send(address, "GET /api/v2/buildinfo HTTP/1.1", "").await;
    assert!(own.ends_with("control plane 1.0"), "{own}");
    let sign_in = "POST /api/v2/workspaceagents/aws-instance-identity HTTP/1.1";
    let missing = send(address, sign_in, "{}").await;
    assert!(missing.starts_with("HTTP/1.1 400 "), "{missing}");
    assert!(missing.contains("required: signature, document"), "{missing}");
    let unknown = send(address, "GET /api/v2/unknown HTTP/1.1", "").await;
    assert!(unknown.starts_with("HTTP/1.1 404 "), "{unknown}");
    assert!(unknown.contains("x-request-id: "), "{unknown}");
    serving.abort();
}

async fn send(address: SocketAddr, start: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!("Host: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{start}\r\n{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
