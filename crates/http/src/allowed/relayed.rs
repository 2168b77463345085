use app_authz::app::{Connection, Visitor};
use http::{HeaderMap, HeaderName};
use uuid::Uuid;

use super::header;

/// Reads what a check has told a proxy about a visit, as the server behind the proxy receives it
///
/// The result is for [`Mask::matches`](app_authz::app::Mask::matches), in a carrier that listens to
/// revocations. A field that the headers do not say or that cannot be read is not known, and agrees with
/// any mask: so are the app and the session, which no header says. The headers are trusted, so the
/// server must not be reachable but through the proxy.
#[must_use]
pub fn relayed_connection(headers: &HeaderMap) -> Connection {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let id = |name| text(name).and_then(|id| Uuid::try_parse(id).ok());
    let visitor = match (text(header::USER), id(header::USER)) {
        (Some(header::ANONYMOUS), _) => Visitor::Anonymous,
        (_, Some(user)) => Visitor::User(user.into()),
        _ => Visitor::Unspecified,
    };
    let mut connection = Connection::of(visitor);
    connection.workspace = id(header::WORKSPACE_ID).map(Into::into);
    connection.agent = id(header::AGENT_ID).map(Into::into);
    connection
}
