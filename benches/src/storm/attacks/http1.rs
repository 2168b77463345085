use std::convert::Infallible;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::sleep;

use super::Attacker;
use crate::storm::http1::{connect, exchange, read_answer};
use crate::storm::mint::{HOST, post_head, sign_in};
use crate::storm::tally::Outcome;

/// Sends a head of a request one byte a second
pub(super) async fn slow_head(attacker: &Attacker) -> Outcome {
    let start = format!("POST {} HTTP/1.1\r\nHost: {HOST}\r\nX-Slow: ", sign_in("aws"));
    connected(attacker, start.as_bytes(), Some(Duration::from_secs(1))).await
}

/// Sends nothing
pub(super) async fn silent(attacker: &Attacker) -> Outcome {
    connected(attacker, b"", None).await
}

/// Sends the head of a sign-in and one byte of its body
pub(super) async fn slow_body(attacker: &Attacker) -> Outcome {
    let start = post_head(&sign_in("aws"), 1_024) + "{";
    connected(attacker, start.as_bytes(), None).await
}

/// Sends forged proofs on one connection, one after the other, until it ends
pub(super) async fn flood(attacker: &Attacker) -> Outcome {
    let mut stream = match connect(attacker.from, attacker.to).await {
        Ok(stream) => stream,
        Err(outcome) => return outcome,
    };
    let _open = attacker.tally.connected();
    loop {
        match exchange(&mut stream, &attacker.forgery).await {
            Ok(answer) => attacker.tally.add(Outcome::Status(answer.status)),
            Err(outcome) => return outcome,
        }
    }
}

/// Sends `start`, then a byte at each `interval`, until the server answers or closes
async fn connected(attacker: &Attacker, start: &[u8], interval: Option<Duration>) -> Outcome {
    let stream = match connect(attacker.from, attacker.to).await {
        Ok(stream) => stream,
        Err(outcome) => return outcome,
    };
    let _open = attacker.tally.connected();
    let (mut reading, mut writing) = stream.into_split();
    let sending = async {
        match send(&mut writing, start, interval).await {
            Ok(never) => match never {},
            Err(error) => Outcome::of_io(&error),
        }
    };
    tokio::select! {
        // The answer of a server that has closed is still there to be read.
        biased;
        answer = read_answer(&mut reading) => answer.map_or_else(
            |outcome| outcome,
            |answer| Outcome::Status(answer.status),
        ),
        outcome = sending => outcome,
    }
}

async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    start: &[u8],
    interval: Option<Duration>,
) -> io::Result<Infallible> {
    stream.write_all(start).await?;
    let Some(interval) = interval else { return std::future::pending().await };
    loop {
        sleep(interval).await;
        stream.write_all(b"a").await?;
    }
}
