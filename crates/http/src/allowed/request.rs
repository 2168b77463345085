use app_authz::app::Visitor;
use app_authz::credential::{CookieNames, Withheld};
use http::header::{
    AUTHORIZATION, CONNECTION, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::uri::InvalidUri;
use http::{Request, Version};
use uuid::Uuid;

use super::{Allowed, header};
use crate::apps::{Admitted, cookies_for_app};
use crate::proxies::X_FORWARDED_HOST;
use crate::request_facts::X_REQUEST_ID;

impl Allowed {
    /// Makes the visitor's request the one that the app is to see
    ///
    /// - Makes [`uri`](Self::uri) its address, and HTTP/1.1 its version. A client that needs an
    ///   absolute address, or that speaks HTTP/2 to the app, changes them afterwards, the address to
    ///   [`target`](Self::target).
    /// - Removes what signs the visitor in: cookies of authd and of the dashboard, the header
    ///   `Coder-Session-Token`, and an `Authorization` that holds a session token. The app's own
    ///   cookies and authorization stay.
    /// - Sets the `X-Authd-…` headers of `docs/proxies.md`, and removes those of the visitor.
    /// - Sets `Host` to the visitor's, and `X-Forwarded-For`, `X-Forwarded-Host`, `X-Forwarded-Proto`
    ///   and `X-Request-Id`. Other headers about clients, such as `Forwarded`, stay as they are.
    /// - Removes the headers of the visitor's connection (RFC 9110, section 7.6.1). Of upgrades only
    ///   that to a WebSocket stays, as `Connection: upgrade` and `Upgrade: websocket`: another
    ///   protocol could carry requests that nothing checks.
    ///
    /// Method and body stay. The length of the body, `Content-Length` or the framing of its
    /// connection, is the carrier's.
    ///
    /// # Errors
    ///
    /// Fails if the path of the app's URL, which the author of a template wrote, has characters that
    /// a request must not have. The request is then as it was.
    pub fn prepare<B>(&self, request: &mut Request<B>) -> Result<(), InvalidUri> {
        *request.uri_mut() = self.uri().parse()?;
        *request.version_mut() = Version::HTTP_11;
        self.prepare_headers(request.headers_mut());
        Ok(())
    }

    fn prepare_headers(&self, headers: &mut HeaderMap) {
        let admitted = &self.0.admitted;
        let to_websocket = is_websocket(headers);
        remove_of_connection(headers);
        if to_websocket {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }

        let credentials = credentials(headers, &admitted.deployment.cookie_names);
        set(headers, COOKIE, credentials.cookie);
        set(headers, AUTHORIZATION, credentials.authorization);
        let withheld = headers.keys().filter(|name| Withheld::header(name.as_str())).cloned();
        for name in withheld.collect::<Vec<_>>() {
            headers.remove(name);
        }
        for_each_fact(admitted, |name, value| {
            set(headers, name, value.filter(|value| !value.is_empty()));
        });

        let of_text = |text: &str| HeaderValue::from_str(text).ok();
        let authority = of_text(&self.0.at.authority());
        let client = self.0.client.and_then(|client| of_text(&client.to_string()));
        let origin = self.0.at.origin();
        let scheme = origin.split(':').next().and_then(of_text);
        for (name, value) in [
            (HOST, authority.clone()),
            (X_FORWARDED_FOR, client),
            (X_FORWARDED_HOST, authority),
            (X_FORWARDED_PROTO, scheme),
            (X_REQUEST_ID, of_text(&self.request_id())),
        ] {
            set(headers, name, value);
        }
    }
}

/// Calls `set` with each header that tells an app about its visitor
///
/// A list of them would be copied several times, for each check of a proxy.
pub(crate) fn for_each_fact(
    admitted: &Admitted,
    mut set: impl FnMut(HeaderName, Option<HeaderValue>),
) {
    let grant = admitted.token.grant();
    let user = match grant.visitor {
        Visitor::User(user) => id(user.0),
        Visitor::Anonymous => Some(HeaderValue::from_static(header::ANONYMOUS)),
        Visitor::Unspecified => Some(HeaderValue::from_static("unknown")),
    };
    let of_text = |text: &str| HeaderValue::from_str(text).ok();
    let folder = Some(&*admitted.folder).filter(|folder| !folder.is_empty());
    set(header::USER, user);
    set(header::OWNER_ID, id(grant.owner.0));
    set(header::WORKSPACE_ID, id(grant.workspace.0));
    set(header::AGENT_ID, id(grant.agent.0));
    // Each is from a URL, a header, or a column of URLs.
    set(header::APP_URL, of_text(&grant.url));
    set(header::URI, of_text(&admitted.uri));
    set(header::FOLDER, folder.and_then(of_text));
    set(header::CORS, Some(HeaderValue::from_static(grant.cors.as_str())));
    set(header::CORS_ORIGIN, admitted.origin.as_deref().and_then(of_text));
}

/// The visitor's own cookies and authorization that the app may see
pub(crate) struct Credentials {
    pub(crate) cookie: Option<HeaderValue>,
    pub(crate) authorization: Option<HeaderValue>,
}

pub(crate) fn credentials(visitor: &HeaderMap, names: &CookieNames) -> Credentials {
    Credentials {
        cookie: Some(cookies_for_app(visitor, names)).filter(|cookie| !cookie.is_empty()),
        authorization: own_authorization(visitor),
    }
}

/// The header `Authorization` if it does not hold a session token, which apps must not see
pub(crate) fn own_authorization(visitor: &HeaderMap) -> Option<HeaderValue> {
    let value = visitor.get(AUTHORIZATION)?;
    (!Withheld::authorization(value.as_bytes())).then(|| value.clone())
}

fn id(id: Uuid) -> Option<HeaderValue> {
    HeaderValue::from_str(id.as_hyphenated().encode_lower(&mut Uuid::encode_buffer())).ok()
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => drop(headers.insert(name, value)),
        None => drop(headers.remove(name)),
    }
}

/// Whether the request is to become a WebSocket, and nothing else
fn is_websocket(headers: &HeaderMap) -> bool {
    let mut upgrades = headers.get_all(UPGRADE).iter();
    let is_named = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    upgrades.next().is_some_and(is_named) && upgrades.next().is_none()
}

/// Removes the headers that are about the connection, and those that `Connection` names
pub(super) fn remove_of_connection(headers: &mut HeaderMap) {
    let lists = headers.get_all(CONNECTION).into_iter().map(HeaderValue::as_bytes);
    let names = lists.flat_map(|list| list.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let named: Vec<HeaderName> =
        names.filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
    for name in named.iter().chain(&OF_CONNECTION) {
        headers.remove(name);
    }
}

/// RFC 9110, section 7.6.1
const OF_CONNECTION: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
