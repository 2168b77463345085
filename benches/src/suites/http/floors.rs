//! Servers of plain hyper that do the same physical work as ours

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, DATE};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::client::Answer;
use crate::suites::connections::{APP_BY_NAME_TYPES, app_by_name, connect, connect_for_reads};

/// The work of a floor before it answers
pub(super) type Work = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A server that reads each request, works, and gives the answer that ours gave once
pub(super) async fn serve(answer: &Answer, work: Work) -> SocketAddr {
    let mut response = Response::new(Full::new(answer.body.clone()));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers.clone();
    // hyper writes these itself.
    for own in [DATE, CONTENT_LENGTH] {
        response.headers_mut().remove(own);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(accept(listener, response, work));
    address
}

async fn accept(listener: TcpListener, response: Response<Full<Bytes>>, work: Work) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (response, work) = (response.clone(), Arc::clone(&work));
        let service = service_fn(move |request: Request<Incoming>| {
            let (response, working) = (response.clone(), work());
            async move {
                let body = request.into_body().collect().await;
                working.await;
                body.map(|_| response)
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

/// Nothing
pub(super) fn nothing() -> Work {
    Arc::new(|| Box::pin(std::future::ready(())))
}

/// The statement of ours for one request, on as many connections as ours shares
pub(super) async fn read(url: &str, connections: usize, session: &str) -> Work {
    let mut shared = Vec::new();
    for _ in 0..connections {
        let client = connect_for_reads(url).await;
        let statement = client.prepare_typed(app_by_name(), &APP_BY_NAME_TYPES).await.unwrap();
        shared.push((client, statement));
    }
    let (key, _) = session.split_once('-').unwrap();
    let key = key.to_owned();
    let turns = Arc::new(Turns::new(shared));
    Arc::new(move || {
        let (turns, key) = (Arc::clone(&turns), key.clone());
        Box::pin(async move {
            let (client, statement) = turns.next();
            let rows = client
                .query(
                    statement,
                    &[
                        &[Some("alice")].as_slice(),
                        &[Some("dev")].as_slice(),
                        &[Some("code")].as_slice(),
                        &[None::<i32>].as_slice(),
                        &[key.as_str()].as_slice(),
                    ],
                )
                .await;
            assert_eq!(rows.unwrap().len(), 1);
        })
    })
}

/// One durable row of the log, as ours writes for a new visitor, after `first`
pub(super) async fn insert_after(first: Work, url: &str, connections: usize) -> Work {
    let mut shared = Vec::new();
    for _ in 0..connections {
        let client = connect(url).await;
        let types = [Type::UUID, Type::UUID];
        let statement = client.prepare_typed(INSERT, &types).await.unwrap();
        shared.push((client, statement));
    }
    let turns = Arc::new(Turns::new(shared));
    Arc::new(move || {
        let (reading, turns) = (first(), Arc::clone(&turns));
        Box::pin(async move {
            reading.await;
            let (client, statement) = turns.next();
            client.execute(statement, &[&Uuid::now_v7(), &Uuid::now_v7()]).await.unwrap();
        })
    })
}

/// Connections that are used in turn
struct Turns {
    connections: Vec<(Client, Statement)>,
    next: AtomicUsize,
}

impl Turns {
    const fn new(connections: Vec<(Client, Statement)>) -> Self {
        Self { connections, next: AtomicUsize::new(0) }
    }

    fn next(&self) -> &(Client, Statement) {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        &self.connections[next % self.connections.len()]
    }
}

/// As long as a connection to ours may stay open without a request
const IDLE: Duration = Duration::from_secs(75);

const INSERT: &str = "
    INSERT INTO authd_audit_log (id, session_id, time, user_id, organization_id, workspace_id,
                                 ip, user_agent, resource_type, resource_id, resource_target,
                                 action, status_code, decision, reason, additional_fields,
                                 request_id)
    VALUES ($1, $1, now(), '00000000-0000-0000-0000-000000000002',
            '00000000-0000-0000-0000-000000000006', '00000000-0000-0000-0000-000000000005',
            '2001:db8::1', 'Mozilla/5.0', 'workspace_app', '00000000-0000-0000-0000-000000000003',
            'code', 'open', 200, 'allow', '',
            '{\"workspace_name\": \"dev\", \"workspace_owner\": \"alice\", \"build_number\": \"\",
              \"build_reason\": \"\", \"workspace_id\": \"00000000-0000-0000-0000-000000000005\"}',
            $2)";
