use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::tally::Outcome;

/// A complete answer
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: bool,
    pub(super) body: Vec<u8>,
}

/// Connects from an address of this machine
pub(super) async fn connect(from: Ipv4Addr, to: SocketAddr) -> Result<TcpStream, Outcome> {
    let connected = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    connected.await.map_err(|error| Outcome::of_io(&error))
}

/// Sends a whole request and reads the answer
pub(super) async fn exchange(stream: &mut TcpStream, request: &[u8]) -> Result<Answer, Outcome> {
    // A server that refuses early answers and closes before it has read everything.
    let sent = stream.write_all(request).await;
    let answer = read_answer(stream).await;
    match (sent, answer) {
        (Err(error), Err(_)) => Err(Outcome::of_io(&error)),
        (_, answer) => answer,
    }
}

/// Reads an answer, whose length is either given or ends with the connection
pub(super) async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> Result<Answer, Outcome> {
    let mut bytes = Vec::with_capacity(1024);
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if bytes.len() > LARGEST_HEAD {
            return Err(Outcome::Malformed);
        }
        more(stream, &mut bytes).await?;
    };
    let mut body = bytes.split_off(head);
    let head = String::from_utf8(bytes).map_err(|_| Outcome::Malformed)?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3));
    let status = status.and_then(|status| status.parse().ok()).ok_or(Outcome::Malformed)?;
    let (mut retry_after, mut length) = (false, None);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("retry-after") {
            retry_after = true;
        } else if name.eq_ignore_ascii_case("content-length") {
            let value = value.trim().parse::<usize>();
            length = Some(value.map_err(|_| Outcome::Malformed)?);
        }
    }
    while length.is_none_or(|length| body.len() < length) {
        match more(stream, &mut body).await {
            Ok(()) => {}
            Err(Outcome::Closed) if length.is_none() => break,
            Err(outcome) => return Err(outcome),
        }
    }
    Ok(Answer { status, retry_after, body })
}

/// Appends bytes; [`Outcome::Closed`] if there are no more
async fn more(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> Result<(), Outcome> {
    match stream.read_buf(bytes).await {
        Ok(0) => Err(Outcome::Closed),
        Ok(_) => Ok(()),
        Err(error) => Err(Outcome::of_io(&error)),
    }
}

const LARGEST_HEAD: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_are_read_to_their_end() {
        type Read = Result<(u16, bool, &'static str), Outcome>;
        let cases: [(&str, Read); 8] = [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", Ok((200, false, "{}"))),
            (
                "HTTP/1.1 503 Service Unavailable\r\nRETRY-AFTER: 3\r\nContent-Length:0\r\n\r\n",
                Ok((503, true, "")),
            ),
            ("HTTP/1.1 408 Request Timeout\r\n\r\nlate", Ok((408, false, "late"))),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", Err(Outcome::Closed)),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}", Err(Outcome::Malformed)),
            ("HTTP/1.1 200 OK\r\n", Err(Outcome::Closed)),
            ("", Err(Outcome::Closed)),
            ("SSH-2.0-OpenSSH\r\n\r\n", Err(Outcome::Malformed)),
        ];
        for (bytes, expected) in cases {
            let read = read_answer(&mut bytes.as_bytes()).await;
            let read = read.map(|answer| {
                (answer.status, answer.retry_after, String::from_utf8(answer.body).unwrap())
            });
            let expected = expected.map(|(status, late, body)| (status, late, body.to_owned()));
            assert_eq!(read, expected, "{bytes:?}");
        }
    }
}
