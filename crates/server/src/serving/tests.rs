use std::convert::Infallible;
use std::time::Duration;

use fair_share::Source;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use tokio::io::AsyncRead;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::yield_now;
use tokio::time::sleep;

use super::*;

/// A client, and the connection that serves it
async fn served() -> (TcpStream, Arc<Connection>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    (client, begin(Stream::Tcp(stream)))
}

/// Serves a connection in a task of its own
fn begin(stream: Stream) -> Arc<Connection> {
    let connection = Arc::new(Connection::new(Source::UNKNOWN, Arc::default()));
    let (serving, answering) = (Arc::clone(&connection), Arc::clone(&connection));
    let service = service_fn(move |_: Request<Incoming>| {
        let connection = Arc::clone(&answering);
        Box::pin(async move {
            let in_progress = connection.request_begins(false);
            let body = Answer::new(Full::<Bytes>::from("x"), &connection, in_progress);
            Ok::<_, Infallible>(Response::new(body))
        })
    });
    tokio::spawn(async move { serve(stream, &serving, service).await });
    connection
}

async fn answer(client: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\nx") {
        text.push(client.read_u8().await.unwrap());
    }
    String::from_utf8(text).unwrap()
}

async fn wait_for(holds: impl Fn() -> bool) {
    let waited = timeout(Duration::from_secs(20), async {
        while !holds() {
            sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.unwrap();
}

#[tokio::test]
async fn what_was_read_of_a_request_is_kept_with_its_connection() {
    let (mut client, connection) = served().await;
    for split in [1, 5, 20] {
        let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        client.write_all(request).await.unwrap();
        answer(&mut client).await;
        let (one, two) = request.split_at(split);
        client.write_all(one).await.unwrap();
        wait_for(|| connection.head() == split).await;
        connection.end(End::Park);
        // Meanwhile hyper gives it back, and gets it again since a part was read.
        sleep(Duration::from_millis(50)).await;
        client.write_all(two).await.unwrap();
        let answered = answer(&mut client).await;
        assert!(answered.starts_with("HTTP/1.1 200") && !answered.contains("close"), "{answered}");
    }
}

#[tokio::test]
async fn a_request_that_has_arrived_is_answered_before_the_end() {
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    for (how, is_used) in
        [(End::Finish, false), (End::Finish, true), (End::Close, false), (End::Close, true)]
    {
        // Without an order, one of the two would win by chance.
        for _ in 0..20 {
            let (mut client, stream) = UnixStream::pair().unwrap();
            let connection = begin(Stream::Unix(stream));
            if is_used {
                client.write_all(request).await.unwrap();
                answer(&mut client).await;
            }
            sleep(Duration::from_millis(2)).await;
            client.write_all(request).await.unwrap();
            // The runtime notices the request, and has not run the task of the connection yet.
            yield_now().await;
            connection.end(how);
            answer(&mut client).await;
        }
    }
}
