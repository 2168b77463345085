//! What a browser sees: one link signs a user in and opens an app
//!
//! A proxy asks authd about each request for an app and carries it, as nginx would. All hosts are
//! below `localhost`, which browsers resolve to this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use agent_auth::Rules;
use authd_http::{AppsConfig, Limits, ResponseBody, Service, TrustedProxies};
use authd_server::{Limits as ServerLimits, Server};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, SET_COOKIE,
};
use hyper::{Method, Request, Response, StatusCode};
use identity_fetch::Identity;
use store::PgStore;
use testkit::net::Client;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::error::DemoError;
use crate::fleet::SampleFleet;
use crate::output::say;

const DASHBOARD: &str = "authd.localhost";
const APP_HOSTS: &str = "apps.localhost";
const CODE: &str = "code--main--one-agent--alice";

/// Starts to serve browsers on a port of this machine, until the runtime ends
///
/// Prints the links. Port 0 is any free port.
pub(crate) async fn start(
    store: PgStore,
    identity: Identity,
    sample: &SampleFleet,
    port: u16,
) -> Result<(), DemoError> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(DemoError::Listen)?;
    let address = listener.local_addr().map_err(DemoError::Listen)?;
    let config = config(address.port()).map_err(DemoError::Apps)?;
    let clock = authd::system_clock();
    let store = Arc::new(store);
    let service = Service::over(&store, identity, Rules::default(), Limits::default(), clock);
    let service = service.with_apps(store, config);
    service.maintain_keys(true).await?;
    let front = Arc::new(Front {
        service,
        client: Client::new(),
        sign_in: format!("/demo/sign-in/{}", Uuid::new_v4()),
        cookie: format!(
            "coder_session_token={}; Path=/; HttpOnly; SameSite=Lax",
            sample.alice.reveal()
        ),
        app: format!("http://{CODE}.{APP_HOSTS}:{}/", address.port()),
    });
    front.say(address, sample);
    let handler = move |peer, request| {
        let front = Arc::clone(&front);
        async move { front.answer(peer, request).await }
    };
    tokio::spawn(async move {
        let server = Server::new(ServerLimits::default());
        server.serve(vec![listener], handler, std::future::pending()).await;
    });
    Ok(())
}

/// Starts an app, which shows what it receives about its visitor, and returns its URL
pub(crate) async fn start_app() -> Result<String, DemoError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(DemoError::Listen)?;
    let url = format!("http://{}", listener.local_addr().map_err(DemoError::Listen)?);
    let answer = |_, request: Request<Incoming>| async move { app_page(request.headers()) };
    tokio::spawn(async move {
        let server = Server::new(ServerLimits::default());
        server.serve(vec![listener], answer, std::future::pending()).await;
    });
    Ok(url)
}

fn config(port: u16) -> Result<AppsConfig, app_authz::Error> {
    let mut config = AppsConfig::new(format!("http://{DASHBOARD}:{port}").parse()?);
    config.app_hosts = Some(format!("*.{APP_HOSTS}").parse()?);
    // Only the proxy below asks as a peer without an address.
    config.trusted = TrustedProxies {
        unix_sockets: true,
        headers: vec![HeaderName::from_static("x-forwarded-for")],
        ..TrustedProxies::NONE
    };
    Ok(config)
}

/// The server that browsers connect to
struct Front {
    service: Service,
    client: Client,
    /// The path that signs in, which only the link has
    sign_in: String,
    cookie: String,
    app: String,
}

impl Front {
    fn say(&self, address: SocketAddr, sample: &SampleFleet) {
        let port = address.port();
        say(
            "\nOpen this link in a browser on this machine. It signs in as alice and opens her app:\n",
        );
        say(&format!("  http://{DASHBOARD}:{port}{}\n", self.sign_in));
        say("Then try these:\n");
        for (what, url) in [
            ("the app again", self.app.clone()),
            (
                "a workspace that is stopped",
                format!("http://code--main--asleep--alice.{APP_HOSTS}:{port}/"),
            ),
            ("the home page, to sign out", format!("http://{DASHBOARD}:{port}/")),
            ("sign in with a token", format!("http://{DASHBOARD}:{port}/login")),
        ] {
            say(&format!("  {what:<28} {url}"));
        }
        say(&format!("\n  {:<28} {}", "carol's token", sample.carol.reveal()));
    }

    async fn answer(&self, peer: Option<IpAddr>, request: Request<Incoming>) -> Answer {
        let host = host_of(request.headers());
        if host.ends_with(&format!(".{APP_HOSTS}")) {
            return self.carry(request).await.unwrap_or_else(|| text(StatusCode::BAD_GATEWAY));
        }
        if host == DASHBOARD && request.uri().path() == self.sign_in {
            let mut answer = text(StatusCode::SEE_OTHER);
            for (name, value) in [(SET_COOKIE, &self.cookie), (LOCATION, &self.app)] {
                answer.headers_mut().extend(HeaderValue::from_str(value).map(|v| (name, v)));
            }
            return answer;
        }
        match peer {
            Some(peer) => self.service.answer_to(peer, request).await,
            None => self.service.answer(request).await,
        }
    }

    /// Asks about a request for an app, and carries it if it may go on
    async fn carry(&self, request: Request<Incoming>) -> Option<Answer> {
        let (head, _) = request.into_parts();
        let mut check =
            Request::get("/api/v2/forward-auth/traefik").body(Full::<Bytes>::default()).ok()?;
        *check.headers_mut() = head.headers.clone();
        let host = head.headers.get(HOST)?;
        let uri = head.uri.path_and_query()?.as_str();
        for (name, value) in [
            ("x-forwarded-host", host.clone()),
            ("x-forwarded-uri", HeaderValue::from_str(uri).ok()?),
            ("x-forwarded-method", HeaderValue::from_str(head.method.as_str()).ok()?),
            ("x-forwarded-proto", HeaderValue::from_static("http")),
            ("x-forwarded-for", HeaderValue::from_static("127.0.0.1")),
        ] {
            check.headers_mut().insert(name, value);
        }
        let allowed = self.service.answer_to_socket(check).await;
        if allowed.status() != StatusCode::OK {
            return Some(allowed);
        }
        let allowed = allowed.into_parts().0.headers;
        let of = |name: &str| allowed.get(name)?.to_str().ok();
        let user = of("x-authd-user")?;
        let url = format!("{}{}", of("x-authd-app-url")?, of("x-authd-uri").unwrap_or(uri));
        let headers = [
            (HeaderName::from_static("x-authd-user"), user),
            (COOKIE, of("cookie").unwrap_or_default()),
        ];
        let carried = self.client.send(Method::GET, &url, &headers, Bytes::new()).await.ok()?;
        let mut answer = Response::new(ResponseBody::from(carried.body));
        *answer.status_mut() = carried.status;
        *answer.headers_mut() = carried.headers;
        for cookie in allowed.get_all(SET_COOKIE) {
            answer.headers_mut().append(SET_COOKIE, cookie.clone());
        }
        Some(answer)
    }
}

type Answer = Response<ResponseBody>;

fn host_of(headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    host.rsplit_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase()
}

/// The page of the app
fn app_page(headers: &HeaderMap) -> Answer {
    let of = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // A header of the proxy, which only has an id.
    let user = of("x-authd-user").filter(|user| user.parse::<Uuid>().is_ok());
    let cookies = of("cookie").filter(|cookies| !cookies.is_empty()).map_or("none", |_| "some");
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>The app</title>\
         <style>body{{font:1.1rem/1.6 system-ui;max-width:40rem;margin:3rem auto;padding:0 1rem}}\
         </style><h1>This is the app</h1><p>authd let this request through to it.</p>\
         <p>The id of its visitor, which the app receives: <code>{}</code></p>\
         <p>Cookies of authd that it sees: {cookies}</p>",
        user.unwrap_or("not signed in")
    );
    let mut answer = Response::new(Bytes::from(page).into());
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, html);
    answer
}

fn text(status: StatusCode) -> Answer {
    let mut answer =
        Response::new(Bytes::from(status.canonical_reason().unwrap_or_default()).into());
    *answer.status_mut() = status;
    answer
}
