//! A small carrier: it streams requests, answers and WebSockets between visitors and apps
//!
//! It makes a connection for each request, and speaks HTTP/1.1 to apps. What an app and a visitor
//! may see of each other is decided by `Allowed::prepare` and `Allowed::finish`.

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use authd_http::{Allowed, Network, ResponseBody};
use axum::extract::Request;
use axum::http::{Response, StatusCode, Uri, Version};
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
        // A terminal has no target: connect to `allowed.agent()` in the agent's own protocol.
        let app = self.connect(&allowed.target().ok_or("no address")?).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(app)).await?;
        tokio::spawn(connection.with_upgrades());

        let visitor = hyper::upgrade::on(&mut request);
        allowed.prepare(request.headers_mut());
        *request.uri_mut() = allowed.uri().parse()?;
        *request.version_mut() = Version::HTTP_11;
        let mut answer = sender.send_request(request).await?;
        let status = answer.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            tokio::spawn(relay(visitor, hyper::upgrade::on(&mut answer)));
        }
        allowed.finish(status, answer.headers_mut());
        Ok(answer.map(ResponseBody::new))
    }

    /// Connects to the address of an app in the network of the agents
    ///
    /// A host that reaches agents through tunnels finds that of `allowed.agent()` here.
    async fn connect(&self, app: &Uri) -> Result<TcpStream, BoxError> {
        let port = app.port_u16().unwrap_or(80);
        let host: IpAddr = app.host().unwrap_or_default().trim_matches(['[', ']']).parse()?;
        if app.scheme_str() != Some("http") || !self.agents.contains(host) {
            return Err("not an app that this carrier reaches".into());
        }
        Ok(TcpStream::connect((host, port)).await?)
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
type BoxError = Box<dyn Error + Send + Sync>;
