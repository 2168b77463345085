//! A small carrier: it streams requests, answers and WebSockets between visitors and apps
//!
//! It makes a connection for each request, and speaks HTTP/1.1 to apps. What an app and a visitor
//! may see of each other is decided by `Allowed::prepare` and `Allowed::finish`.

use std::time::Duration;

use authd_http::{Allowed, Network, ResponseBody};
use axum::BoxError;
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

#[derive(Clone, Copy)]
pub(crate) struct Carrier {
    /// The only network that it connects to: authors of templates choose the URLs of apps
    pub(crate) agents: Network,
    /// How long an app may take until its answer begins
    pub(crate) timeout: Duration,
}

impl Carrier {
    pub(crate) async fn carry(self, allowed: Allowed, request: Request) -> Answer {
        match timeout(self.timeout, self.exchange(&allowed, request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => allowed.unreachable(),
            Err(_) => allowed.timed_out(),
        }
    }

    async fn exchange(&self, allowed: &Allowed, mut request: Request) -> Result<Answer, BoxError> {
        // A host that reaches agents through tunnels takes that of `allowed.agent()`. So it does for
        // a terminal, which has no address.
        let app = TcpStream::connect(allowed.address_in(self.agents)?).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(app)).await?;
        tokio::spawn(connection.with_upgrades());

        let visitor = hyper::upgrade::on(&mut request);
        allowed.prepare(&mut request)?;
        let mut answer = sender.send_request(request).await?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            tokio::spawn(relay(visitor, hyper::upgrade::on(&mut answer)));
        }
        allowed.finish(&mut answer);
        Ok(answer.map(ResponseBody::new))
    }
}

/// Copies both ways until one side ends
///
/// This is the place to end sooner, such as when the visitor's session ends.
async fn relay(visitor: OnUpgrade, app: OnUpgrade) -> Result<(), BoxError> {
    let (visitor, app) = tokio::try_join!(visitor, app)?;
    tokio::io::copy_bidirectional(&mut TokioIo::new(visitor), &mut TokioIo::new(app)).await?;
    Ok(())
}

type Answer = Response<ResponseBody>;
