use std::future::pending;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use http::Request;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Attacker;
use crate::storm::http1::connect;
use crate::storm::mint::{HOST, sign_in};
use crate::storm::tally::Outcome;

/// Sends the preface, and afterwards only what the protocol asks for
pub(super) async fn pings(attacker: &Attacker) -> Outcome {
    let (_requests, connection) = match open(attacker, &Builder::new()).await {
        Ok(opened) => opened,
        Err(outcome) => return outcome,
    };
    let _open = attacker.tally.connected();
    end_of(connection).await
}

/// Keeps sign-ins under way that have sent one byte of their body
pub(super) async fn slow_bodies(attacker: &Attacker, streams: usize) -> Outcome {
    let (requests, connection) = match open(attacker, &Builder::new()).await {
        Ok(opened) => opened,
        Err(outcome) => return outcome,
    };
    let _open = attacker.tally.connected();
    let mut tasks = JoinSet::new();
    for _ in 0..streams {
        let (attacker, requests) = (attacker.clone(), requests.clone());
        tasks.spawn(async move {
            // The connection reports its end itself.
            while let Ok(outcome) = slow_body(requests.clone()).await {
                attacker.tally.add(outcome);
                sleep(attacker.comeback).await;
            }
        });
    }
    drop(requests);
    end_of(connection).await
}

/// One stream; fails if the connection has ended
async fn slow_body(requests: SendRequest<Bytes>) -> Result<Outcome, h2::Error> {
    let path = format!("http://{HOST}{}", sign_in("aws"));
    let head = Request::post(path).header("content-type", "application/json").body(());
    let Ok(head) = head else { return Ok(Outcome::Malformed) };
    let (answer, mut body) = requests.ready().await?.send_request(head, false)?;
    body.send_data(Bytes::from_static(b"{"), false)?;
    match answer.await {
        Ok(answer) => Ok(Outcome::Status(answer.status().as_u16())),
        Err(error) if error.is_reset() => Ok(Outcome::StreamReset),
        Err(error) => Err(error),
    }
}

/// Asks for answers that it does not take
pub(super) async fn closed_window(attacker: &Attacker) -> Outcome {
    let opened = open(attacker, Builder::new().initial_window_size(0)).await;
    let (requests, connection) = match opened {
        Ok(opened) => opened,
        Err(outcome) => return outcome,
    };
    let _open = attacker.tally.connected();
    let mut tasks = JoinSet::new();
    for _ in 0..ANSWERS {
        let (attacker, requests) = (attacker.clone(), requests.clone());
        tasks.spawn(async move {
            if let Err(outcome) = unread_answer(&attacker, requests).await {
                attacker.tally.add(outcome);
            }
        });
    }
    // Not dropped, or the connection would end with its last stream.
    let ended = end_of(connection).await;
    drop(requests);
    ended
}

/// Asks for the metrics and keeps the body of the answer unread; fails if the stream is reset
async fn unread_answer(attacker: &Attacker, requests: SendRequest<Bytes>) -> Result<(), Outcome> {
    let head = Request::get(format!("http://{HOST}/metrics")).body(());
    let head = head.map_err(|_| Outcome::Malformed)?;
    // The connection reports its end itself.
    let Ok(mut requests) = requests.ready().await else { return Ok(()) };
    let Ok((answer, _)) = requests.send_request(head, true) else { return Ok(()) };
    match answer.await {
        Ok(answer) => {
            attacker.tally.add(Outcome::Status(answer.status().as_u16()));
            let _unread = answer;
            pending().await
        }
        Err(error) if error.is_reset() => Err(Outcome::StreamReset),
        Err(_) => Ok(()),
    }
}

type Opened = (SendRequest<Bytes>, Connection<TcpStream, Bytes>);

async fn open(attacker: &Attacker, settings: &Builder) -> Result<Opened, Outcome> {
    let stream = connect(attacker.from, attacker.to).await?;
    settings.handshake(stream).await.map_err(|error| outcome(&error))
}

/// Drives a connection until it ends
async fn end_of(connection: Connection<TcpStream, Bytes>) -> Outcome {
    match connection.await {
        Ok(()) => Outcome::Closed,
        Err(error) => outcome(&error),
    }
}

fn outcome(error: &h2::Error) -> Outcome {
    match error.get_io() {
        Some(error) => Outcome::of_io(error),
        None if error.is_go_away() => Outcome::GoAway,
        None if error.is_reset() => Outcome::StreamReset,
        None => Outcome::Closed,
    }
}

/// How many answers are asked for on a connection
const ANSWERS: usize = 120;
