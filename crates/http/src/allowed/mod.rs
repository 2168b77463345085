//! What a carrier has to know and to do for a visit that may continue to its app

mod admit;
pub(crate) mod header;
mod relayed;
mod request;
mod response;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use app_authz::address::{HttpUrl, Scheme};
use app_authz::app::{AccessMethod, Connection, CorsBehavior, Visitor};
use app_authz::{AgentId, AppRequest, UserId, WorkspaceId};
use http::{Response, Uri};
use thiserror::Error;

pub(crate) use self::admit::{admit_direct, admit_visitor, failure, has_bare_mark};
pub use self::relayed::relayed_connection;
pub(crate) use self::request::{Credentials, credentials, for_each_fact, own_authorization};
use crate::apps::Admitted;
use crate::context::Context;
use crate::error::Rejection;
use crate::proxies::Network;
use crate::purpose::Purpose;
use crate::reply::{Layout, ResponseBody, complete};
use crate::request_facts::RequestId;

/// A request that may continue to its app
///
/// Only [`Service::authorize`](crate::Service::authorize) makes it. It is for that request alone:
/// never use it for another one of the same connection.
///
/// A carrier, in this order:
///
/// 1. finds the app: at [`address_in`](Self::address_in) the network of the agents if it reaches
///    that, and otherwise through its own connection to [`agent`](Self::agent). Authors of templates
///    choose the URL, so it must not connect to any address that it reaches;
/// 2. calls [`prepare`](Self::prepare) with the visitor's request, and sends it to the app;
/// 3. calls [`finish`](Self::finish) with the app's answer, and relays it. If the app does not
///    answer, it sends [`unreachable`](Self::unreachable) or [`timed_out`](Self::timed_out).
///
/// Clones are cheap.
#[derive(Clone)]
#[must_use]
pub struct Allowed(Arc<Facts>);

struct Facts {
    admitted: Admitted,
    /// The visitor's own host and port, under the scheme of the deployment
    at: HttpUrl,
    client: Option<IpAddr>,
    id: RequestId,
    purpose: Purpose,
    now: SystemTime,
    layout: Arc<Layout>,
}

impl Allowed {
    pub(crate) fn new(admitted: Admitted, cx: &Context<'_>, layout: Arc<Layout>) -> Self {
        Self(Arc::new(Facts {
            at: admitted.deployment.address(cx.host),
            admitted,
            client: cx.client,
            id: cx.facts.id,
            purpose: cx.purpose(),
            now: cx.now,
            layout,
        }))
    }

    /// Who visits: a user, or an anonymous visitor of a public app
    #[must_use]
    pub fn visitor(&self) -> Visitor {
        self.0.admitted.token.grant().visitor
    }

    /// The user who owns the workspace
    #[must_use]
    pub fn owner(&self) -> UserId {
        self.0.admitted.token.grant().owner
    }

    /// The workspace of the app
    #[must_use]
    pub fn workspace(&self) -> WorkspaceId {
        self.0.admitted.token.grant().workspace
    }

    /// The agent that serves the app
    #[must_use]
    pub fn agent(&self) -> AgentId {
        self.0.admitted.token.grant().agent
    }

    /// The app as the visitor named it, with the way in which it is reached
    #[must_use]
    pub fn request(&self) -> &AppRequest {
        self.0.admitted.token.request()
    }

    /// The connection that carries the request, for
    /// [`Mask::matches`](app_authz::app::Mask::matches)
    #[must_use]
    pub fn connection(&self) -> Connection {
        Connection::from(&*self.0.admitted.token)
    }

    /// The URL at which the agent serves the app, as its template has it
    ///
    /// `None` for a terminal, which the agent serves without a URL.
    #[must_use]
    pub fn app_url(&self) -> Option<&str> {
        Some(&*self.0.admitted.token.grant().url).filter(|_| !self.is_terminal())
    }

    /// Whether this is the connection of a terminal, and not an app
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.request().method() == AccessMethod::Terminal
    }

    /// The path and query to request from the app
    ///
    /// That is the path of the app's URL, then the visitor's path within the app, and the visitor's
    /// query without the tokens of authd. Everything else is as the visitor wrote it.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.0.admitted.uri
    }

    /// Scheme, host and port of the app's URL, with [`uri`](Self::uri) as path and query
    ///
    /// `None` for a terminal, and for an app whose URL is not one of HTTP.
    #[must_use]
    pub fn target(&self) -> Option<Uri> {
        let url = HttpUrl::of_app(self.app_url()?).ok()?;
        format!("{}{}", url.origin(), self.uri()).parse().ok()
    }

    /// The address at which the app listens, if it is in `network`
    ///
    /// # Errors
    ///
    /// Fails for a terminal, for an app whose URL is not one of HTTP without TLS, and for one whose
    /// URL has a name in place of an address: names are not resolved, since their addresses may
    /// change.
    pub fn address_in(&self, network: Network) -> Result<SocketAddr, NoAddressError> {
        let url = self.app_url().and_then(|url| HttpUrl::of_app(url).ok());
        url.and_then(|url| address_in(network, &url)).ok_or(NoAddressError)
    }

    /// The part of the visitor's path that is not sent to the app, such as `/@alice/dev/apps/code`;
    /// empty on a host of the app's own
    #[must_use]
    pub fn folder(&self) -> &str {
        &self.0.admitted.folder
    }

    /// Which side answers pages of other origins; [`finish`](Self::finish) does what follows
    #[must_use]
    pub fn cors(&self) -> CorsBehavior {
        self.0.admitted.token.grant().cors
    }

    /// Under [`CorsBehavior::Simple`], the origin whose page may read the answer
    #[must_use]
    pub fn cors_origin(&self) -> Option<&str> {
        self.0.admitted.origin.as_deref()
    }

    /// The address of the visitor, if it is known
    #[must_use]
    pub fn client(&self) -> Option<IpAddr> {
        self.0.client
    }

    /// The id of the request, as in the log of authd, in the audit and in the answer
    #[must_use]
    pub fn request_id(&self) -> String {
        self.0.id.to_string()
    }

    /// The answer if the app does not accept the connection, or ended it before it answered
    ///
    /// A page for a person, and JSON for a program. It is complete: do not
    /// [finish](Self::finish) it.
    pub fn unreachable(&self) -> Response<ResponseBody> {
        self.failed(Rejection::Unreachable)
    }

    /// The answer if the app does not answer in time, which is complete, too
    pub fn timed_out(&self) -> Response<ResponseBody> {
        self.failed(Rejection::TimedOut)
    }

    fn failed(&self, rejection: Rejection) -> Response<ResponseBody> {
        let Facts { purpose, id, now, layout, .. } = &*self.0;
        let mut response = rejection.into_reply(*purpose).into_response();
        complete(&mut response, layout, *id, *now);
        self.finish(&mut response);
        response
    }
}

/// An app has no address in a network
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the app's URL is not one of plain HTTP at an address in the network of the agents")]
pub struct NoAddressError;

fn address_in(network: Network, url: &HttpUrl) -> Option<SocketAddr> {
    let host: IpAddr = url.host().trim_matches(['[', ']']).parse().ok()?;
    let is_plain = url.scheme() == Scheme::Http;
    (is_plain && network.contains(host)).then(|| (host, url.port().unwrap_or(80)).into())
}

impl fmt::Debug for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the address, which may hold secrets of the app.
        f.debug_struct("Allowed")
            .field("request_id", &self.request_id())
            .field("visitor", &self.visitor())
            .field("workspace", &self.workspace())
            .field("agent", &self.agent())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_the_network_or_is_not_given() {
        let agents: Network = "10.1.0.0/16".parse().unwrap();
        let v6: Network = "fd00::/8".parse().unwrap();
        for (url, network, expected) in [
            ("http://10.1.2.3:8080/x?a", agents, Some("10.1.2.3:8080")),
            ("http://10.1.2.3", agents, Some("10.1.2.3:80")),
            ("http://[fd00::1]:8080", v6, Some("[fd00::1]:8080")),
            ("http://[::ffff:10.1.2.3]:8080", agents, Some("[::ffff:10.1.2.3]:8080")),
            ("http://10.2.2.3:8080", agents, None),
            ("http://127.0.0.1:8080", agents, None),
            ("http://169.254.169.254", agents, None),
            ("http://[fd00::1]:8080", agents, None),
            ("https://10.1.2.3:8080", agents, None),
            ("http://localhost:8080", agents, None),
            ("http://10.1.2.3.example:8080", agents, None),
            ("http://167838211:8080", agents, None),
        ] {
            let found = address_in(network, &HttpUrl::of_app(url).unwrap());
            assert_eq!(found, expected.map(|address| address.parse().unwrap()), "{url}");
        }
    }
}
