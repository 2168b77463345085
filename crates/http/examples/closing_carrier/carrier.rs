//! A carrier of requests, answers and WebSockets, each until it is revoked

use std::time::Duration;

use authd_http::{Allowed, Network, ResponseBody};
use axum::BoxError;
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use futures_util::StreamExt;
use futures_util::stream::unfold;
use http_body_util::{BodyStream, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::open::{OpenConnection, OpenConnections};

#[derive(Clone)]
pub(crate) struct Carrier {
    /// The only network that it connects to: authors of templates choose the URLs of apps
    pub(crate) agents: Network,
    /// How long an app may take until its answer begins
    pub(crate) timeout: Duration,
    pub(crate) open: OpenConnections,
}

impl Carrier {
    pub(crate) async fn carry(self, allowed: Allowed, request: Request) -> Answer {
        let connection = self.open.add(allowed.connection());
        match timeout(self.timeout, self.exchange(&allowed, request, connection)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => allowed.unreachable(),
            Err(_) => allowed.timed_out(),
        }
    }

    async fn exchange(
        &self,
        allowed: &Allowed,
        mut request: Request,
        mut connection: OpenConnection,
    ) -> Result<Answer, BoxError> {
        let app = TcpStream::connect(allowed.address_in(self.agents)?).await?;
        let (mut sender, exchange) = http1::handshake(TokioIo::new(app)).await?;
        tokio::spawn(exchange.with_upgrades());

        let visitor = hyper::upgrade::on(&mut request);
        allowed.prepare(&mut request)?;
        let mut answer = tokio::select! {
            answer = sender.send_request(request) => answer?,
            () = connection.revoked() => return Err(REVOKED.into()),
        };
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            tokio::spawn(relay(visitor, hyper::upgrade::on(&mut answer), connection));
            allowed.finish(&mut answer);
            return Ok(answer.map(ResponseBody::new));
        }
        allowed.finish(&mut answer);
        Ok(answer.map(|body| until_revoked(body, connection)))
    }
}

/// Copies both ways until one side ends, or the connection is revoked
async fn relay(
    visitor: OnUpgrade,
    app: OnUpgrade,
    mut connection: OpenConnection,
) -> Result<(), BoxError> {
    let (visitor, app) = tokio::try_join!(visitor, app)?;
    let (mut visitor, mut app) = (TokioIo::new(visitor), TokioIo::new(app));
    tokio::select! {
        copied = tokio::io::copy_bidirectional(&mut visitor, &mut app) => drop(copied?),
        () = connection.revoked() => {}
    }
    Ok(())
}

/// The same body, which fails once the connection is revoked: the visitor sees that it is cut off
fn until_revoked(body: Incoming, connection: OpenConnection) -> ResponseBody {
    let frames = unfold((BodyStream::new(body), connection), async |(mut body, mut connection)| {
        let frame = tokio::select! {
            frame = body.next() => frame?.map_err(BoxError::from),
            () = connection.revoked() => Err(REVOKED.into()),
        };
        Some((frame, (body, connection)))
    });
    ResponseBody::new(StreamBody::new(frames))
}

type Answer = Response<ResponseBody>;

const REVOKED: &str = "the visitor may not open the app any more";
