//! An app whose page uses what browsers can: events, a WebSocket, uploads, background requests

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::http1::{accept_socket, field, read_head};

/// Starts the app and returns its address
pub async fn live() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Answers one request; the last segment of the path selects the answer
async fn serve(mut stream: TcpStream) -> Option<()> {
    let head = read_head(&mut stream).await?;
    let value = |wanted: &str| field(&head, wanted);
    let path = head.split(' ').nth(1)?.split('?').next()?;
    match path.rsplit('/').next()? {
        "events" => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
            stream.write_all(head.as_bytes()).await.ok()?;
            // One event, and then no more: the page sees it although the answer goes on.
            stream.write_all(b"data: first\n\n").await.ok()?;
            let _ = stream.read_u8().await;
            Some(())
        }
        "socket" => {
            accept_socket(&mut stream, &head).await?;
            while let Some(text) = read_frame(&mut stream).await {
                let length = u8::try_from(text.len()).ok()?;
                stream.write_all(&[&[0x81, length], &*text].concat()).await.ok()?;
            }
            Some(())
        }
        "up" => {
            let mut left: usize = value("content-length")?.parse().ok()?;
            let (total, mut part) = (left, vec![0; 64 * 1024]);
            while left > 0 {
                left -= stream.read(&mut part).await.ok().filter(|read| *read > 0)?;
            }
            answer(&mut stream, "text/plain", &total.to_string()).await
        }
        "poll" => answer(&mut stream, "text/plain", "polled").await,
        _ => answer(&mut stream, "text/html", PAGE).await,
    }
}

async fn answer(stream: &mut TcpStream, kind: &str, body: &str) -> Option<()> {
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await.ok()
}

/// Reads a short text frame of a client, which is masked (RFC 6455, section 5.2)
async fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut start = [0; 6];
    stream.read_exact(&mut start).await.ok()?;
    let [0x81, length, mask @ ..] = start else { return None };
    let mut text = vec![0; usize::from(length & 0x7f)];
    stream.read_exact(&mut text).await.ok()?;
    text.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Some(text)
}

/// Shows a line for each thing that works; `ask` is for the test
const PAGE: &str = r#"<!doctype html><title>live</title><pre id="log"></pre><script>
const say = text => { document.getElementById('log').textContent += text + '\n' }
new EventSource('events').onmessage = event => say('event ' + event.data)
const socket = new WebSocket(location.href.replace(/^http/, 'ws').replace(/[?#].*/, '') + 'socket')
socket.onopen = () => socket.send('hello')
socket.onmessage = event => say('socket ' + event.data)
fetch('up', { method: 'POST', body: new Uint8Array(5 << 20) })
  .then(answer => answer.text()).then(size => say('uploaded ' + size))
const ask = () => fetch('poll', { headers: { Accept: 'application/json' } }).then(
  async answer => say('asked ' + answer.status + ' ' + await answer.text()),
  error => say('asked in vain: ' + error))
</script>"#;
