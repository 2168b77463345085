//! A host that carries apps itself decides exactly as a proxy's check

use app_authz::app::Visitor;
use authd_http::{Allowed, Peer};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Request, Response, StatusCode};
use store::fleet::{CorsBehavior, SharingLevel};
use testkit::net::Answer;

use crate::app::{OF_ORIGIN, SERVICE_WORKER_ALLOWED};
use crate::world::{Plan, Row, World, header, location, page, query, set_cookies};

const HOST: &str = "owner--agent--dev--alice.test.coder.com";
const PUBLIC: &str = "public--agent--dev--alice.test.coder.com";
const DASHBOARD: &str = "coder.test";
const NGINX: &str = "/api/v2/forward-auth/nginx";
const CADDY: &str = "/api/v2/forward-auth/caddy";
/// Two addresses, so that the audit takes the same visit both ways for two
const BROWSER: &str = "203.0.113.7";
const BEHIND_PROXY: &str = "203.0.113.8";

/// A request of a visitor
#[derive(Clone, Default)]
struct Asked {
    method: &'static str,
    host: String,
    uri: String,
    headers: Vec<(&'static str, String)>,
}

fn asked(method: &'static str, host: &str, uri: &str, headers: &[(&'static str, &str)]) -> Asked {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Asked { method, host: host.to_owned(), uri: uri.to_owned(), headers }
}

impl Asked {
    fn headers(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (*name, &**value)).collect()
    }

    /// The answer of the host in which authd is embedded
    async fn authorize(&self, world: &World) -> Result<Allowed, Answer> {
        let mut request = Request::builder().method(self.method).uri(&self.uri);
        request = request.header("host", &self.host);
        for (name, value) in self.headers() {
            request = request.header(name, value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let peer: std::net::IpAddr = BROWSER.parse().unwrap();
        assert!(world.app.is_for_app(peer, &head));
        match world.app.authorize(peer, &head).await {
            Ok(allowed) => Ok(allowed),
            Err(response) => {
                let (head, body) = response.into_parts();
                let body: Bytes = body.collect().await.unwrap().to_bytes();
                Err(Answer { status: head.status, headers: head.headers, body })
            }
        }
    }

    /// What the check of a proxy answers
    async fn check(&self, world: &World, proxy: &str) -> Answer {
        let mut headers = vec![
            ("x-forwarded-host", &*self.host),
            ("x-forwarded-uri", &*self.uri),
            ("x-forwarded-method", self.method),
            ("x-forwarded-for", BEHIND_PROXY),
        ];
        headers.extend(self.headers());
        world.send("GET", proxy, &headers, "").await
    }

    /// What a visitor gets through nginx; `Ok` is what nginx learns of a visit that may continue
    async fn through_nginx(&self, world: &World) -> Result<Answer, Answer> {
        let checked = self.check(world, NGINX).await;
        if checked.status == StatusCode::OK {
            return Ok(checked);
        }
        let handed = [("x-authd-answer", header(&checked, "x-authd-answer"))];
        Err(world.send("GET", &format!("{NGINX}/answer"), &handed, "").await)
    }
}

/// What tells two answers apart, without what is new in each: nonces, app tokens, ids and times
fn visible(answer: &Answer) -> (StatusCode, String, Vec<String>, Vec<(String, String)>) {
    let to = header(answer, "location");
    let to = match to.contains("auth-redirect") {
        true => query(&location(answer))["redirect_uri"].clone(),
        false => to.to_owned(),
    };
    let cookies = set_cookies(answer).into_iter().map(|(name, _, _)| name).collect();
    let compared = [
        "content-type",
        "content-security-policy",
        "cache-control",
        "retry-after",
        "www-authenticate",
        "vary",
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "access-control-allow-methods",
        "access-control-allow-headers",
    ];
    let headers = compared.iter().map(|name| ((*name).to_owned(), header(answer, name).to_owned()));
    (answer.status, format!("{to}\n{}", page(answer)), cookies, headers.collect())
}

/// What the audit says of a request
fn audited(rows: &[Row], request: &str) -> Vec<String> {
    let fields = ["user", "reason", "agent", "type", "id", "target", "decision"];
    let row = |row: &Row| {
        let fields = fields.map(|field| row.text(field).to_owned());
        format!("{fields:?} {}", row.status())
    };
    rows.iter().filter(|row| row.text("request") == request).map(row).collect()
}

/// Sends both ways, and compares all that the app, the visitor and the audit see
async fn compare(world: &World, asked: &Asked) -> (StatusCode, Option<Allowed>) {
    let what = format!("{} {}{} {:?}", asked.method, asked.host, asked.uri, asked.headers);
    let own = asked.authorize(world).await;
    let proxied = asked.through_nginx(world).await;
    let own_id = match &own {
        Ok(allowed) => allowed.request_id(),
        Err(answer) => header(answer, "x-request-id").to_owned(),
    };
    let (Ok(answer) | Err(answer)) = &proxied;
    let proxied_id = header(answer, "x-request-id");
    let rows = world.rows().await;
    assert_eq!(audited(&rows, &own_id), audited(&rows, proxied_id), "{what}");

    match (own, proxied) {
        (Err(own), Err(proxied)) => {
            assert_eq!(visible(&own), visible(&proxied), "{what}");
            assert!(own.headers.contains_key("x-request-id"));
            if !asked.uri.contains("token") {
                let caddy = asked.check(world, CADDY).await;
                let is_preflight = caddy.headers.contains_key("x-authd-preflight");
                let expected = if is_preflight { StatusCode::FORBIDDEN } else { own.status };
                assert_eq!(caddy.status, expected, "{what}");
            }
            (own.status, None)
        }
        (Ok(allowed), Ok(proxied)) => {
            let mut request = Request::new(());
            for (name, value) in asked.headers() {
                let name: hyper::header::HeaderName = name.parse().unwrap();
                request.headers_mut().append(name, value.parse().unwrap());
            }
            allowed.prepare(&mut request).unwrap();
            assert_eq!(request.uri().to_string(), header(&proxied, "x-authd-uri"), "{what}");
            let headers = request.headers();
            for name in [
                "x-authd-user",
                "x-authd-owner-id",
                "x-authd-workspace-id",
                "x-authd-agent-id",
                "x-authd-app-url",
                "x-authd-uri",
                "x-authd-folder",
                "x-authd-cors",
                "x-authd-cors-origin",
            ] {
                let own = headers.get(name).map_or("", |value| value.to_str().unwrap());
                assert_eq!(own, header(&proxied, name), "{name} of {what}");
            }
            for (offered, name) in
                [("x-authd-cookie", "cookie"), ("x-authd-authorization", "authorization")]
            {
                let own = headers.get(name).map_or("", |value| value.to_str().unwrap());
                assert_eq!(own, header(&proxied, offered), "{name} of {what}");
            }
            assert!(!headers.contains_key("coder-session-token"), "{what}");
            assert_eq!(headers["host"], asked.host, "{what}");
            assert_eq!(headers["x-forwarded-for"], BROWSER);
            let url = Some(header(&proxied, "x-authd-app-url")).filter(|url| !url.is_empty());
            assert_eq!((allowed.app_url(), allowed.target().is_some()), (url, url.is_some()));
            assert_eq!(allowed.is_terminal(), asked.uri.contains("/pty?"), "{what}");
            assert_eq!(allowed.folder(), header(&proxied, "x-authd-folder"), "{what}");
            let mut answer = Response::new(());
            allowed.finish(&mut answer);
            let headers = answer.into_parts().0.headers;
            let own = Answer { status: StatusCode::OK, headers, body: Bytes::new() };
            let name = |answer: &Answer| {
                let cookies = set_cookies(answer).into_iter();
                cookies.map(|(name, value, _)| (name, value.is_empty())).collect::<Vec<_>>()
            };
            assert_eq!(name(&own), name(&proxied), "{what}");
            (StatusCode::OK, Some(allowed))
        }
        (own, proxied) => panic!("{what}: {:?} and {:?}", own.is_ok(), proxied.is_ok()),
    }
}

#[tokio::test]
async fn a_host_and_a_proxy_get_the_same_answers() {
    let mut plan = Plan::new();
    plan.share_port(8080, SharingLevel::Public);
    let world = plan.serve().await;
    let alice = format!("coder_session_token={}; own=1", world.token("alice"));
    let bob = format!("coder_session_token={}", world.token("bob"));
    let header_token = world.token("alice").to_owned();
    let bearer = format!("Bearer {header_token}");
    let in_query = format!("/x?coder_session_token={header_token}&a=%2F");
    let pty = format!("/api/v2/workspaceagents/{}/pty?width=80", world.agent);
    let page = ("accept", "text/html");
    let (owner, stranger) = (("cookie", &*alice), ("cookie", &*bob));
    let navigate = ("sec-fetch-mode", "navigate");
    let sibling = ("origin", "https://authed--agent--dev--alice.test.coder.com");
    let foreign = ("origin", "https://evil.example");
    let (socket, version) = (("upgrade", "websocket"), ("sec-websocket-version", "13"));
    let preflight = ("access-control-request-method", "PUT");
    let by_path = "/@alice/dev.agent/apps/owner";

    let cases: Vec<(u16, Asked)> = vec![
        (200, asked("GET", HOST, "/a%2Fb?q=%20", &[page, owner])),
        (200, asked("GET", HOST, "/?", &[page, owner])),
        (200, asked("POST", HOST, "/", &[owner])),
        (200, asked("GET", HOST, "/healthz", &[page, owner])),
        (200, asked("GET", HOST, "/login", &[page, owner])),
        (200, asked("GET", HOST, "/api/v2/audit", &[page, owner])),
        (200, asked("GET", HOST, "/", &[("coder-session-token", &header_token)])),
        (200, asked("GET", HOST, "/", &[("authorization", &bearer), ("cookie", "own=2")])),
        (200, asked("GET", PUBLIC, "/", &[page, ("authorization", "Basic b3duOm93bg==")])),
        (200, asked("GET", PUBLIC, "/", &[page, ("x-authd-user", "forged")])),
        // A token in the query does not reach the app.
        (200, asked("GET", HOST, &in_query, &[page])),
        (200, asked("GET", HOST, &in_query, &[("accept", "application/json")])),
        // Redirects to sign in, and refusals
        (303, asked("GET", HOST, "/x?a=1", &[page])),
        (303, asked("GET", HOST, "/x", &[navigate])),
        (401, asked("GET", HOST, "/x", &[("sec-fetch-mode", "cors")])),
        (401, asked("POST", HOST, "/x", &[navigate, page])),
        (401, asked("GET", HOST, "/", &[page, socket, version])),
        (404, asked("GET", HOST, "/", &[page, stranger])),
        (404, asked("GET", HOST, "/", &[("accept", "application/json"), stranger])),
        (404, asked("GET", "none--agent--dev--alice.test.coder.com", "/", &[page, owner])),
        (400, asked("GET", "owner--main--off--alice.test.coder.com", "/", &[page, owner])),
        (400, asked("GET", "nonsense.test.coder.com", "/", &[page])),
        (502, asked("GET", "slow-app--slow--dev--alice.test.coder.com", "/", &[page, owner])),
        (400, asked("GET", PUBLIC, "/", &[page, ("x_authd_user", "forged")])),
        // Sockets
        (200, asked("GET", HOST, "/ws", &[owner, socket, version])),
        (403, asked("GET", HOST, "/ws", &[owner, socket, version, foreign])),
        (200, asked("GET", HOST, "/ws", &[owner, socket, version, sibling])),
        // Pages of other origins
        (200, asked("GET", HOST, "/", &[owner, foreign])),
        (403, asked("POST", HOST, "/", &[owner, foreign])),
        (200, asked("POST", HOST, "/", &[owner, sibling])),
        (204, asked("OPTIONS", HOST, "/", &[sibling, preflight])),
        (204, asked("OPTIONS", HOST, "/", &[owner, sibling, preflight])),
        (401, asked("OPTIONS", HOST, "/", &[foreign, preflight])),
        (200, asked("OPTIONS", PUBLIC, "/", &[foreign, preflight])),
        // Seals
        (400, asked("GET", HOST, "/?coder_application_connect_api_key_35e783=x", &[page])),
        (
            400,
            asked(
                "GET",
                DASHBOARD,
                &format!("{by_path}/?coder_application_connect_api_key_35e783=x"),
                &[page],
            ),
        ),
        // Ports
        (200, asked("GET", "8080--agent--dev--alice.test.coder.com", "/", &[page])),
        (303, asked("GET", "8081--agent--dev--alice.test.coder.com", "/", &[page])),
        (400, asked("GET", "8080--dev--alice.test.coder.com", "/", &[page, owner])),
        // By path
        (200, asked("GET", DASHBOARD, &format!("{by_path}/x?a=1"), &[page, owner])),
        (307, asked("GET", DASHBOARD, by_path, &[page, owner])),
        (307, asked("GET", DASHBOARD, &format!("{by_path}?a=1"), &[page, owner])),
        (200, asked("GET", DASHBOARD, by_path, &[("accept", "application/json"), owner])),
        (303, asked("GET", DASHBOARD, &format!("{by_path}/"), &[page])),
        (404, asked("GET", DASHBOARD, "/%2540alice/dev/apps/owner/", &[page, owner])),
        (200, asked("GET", DASHBOARD, "/%40alice/dev/apps/query/x", &[page, owner])),
        (307, asked("GET", DASHBOARD, "/@alice/dev/apps/query/", &[page, owner])),
        // Terminals
        (200, asked("GET", DASHBOARD, &pty, &[owner, socket, version])),
        (404, asked("GET", DASHBOARD, &pty, &[socket, version])),
        (403, asked("GET", DASHBOARD, &pty, &[owner, socket, version, foreign])),
        (
            200,
            asked(
                "GET",
                DASHBOARD,
                &pty,
                &[owner, socket, version, ("origin", "https://coder.test")],
            ),
        ),
        // Logging out
        (303, asked("GET", "coder-logout.test.coder.com", "/", &[page])),
    ];
    let mut wrong = Vec::new();
    for (expected, asked) in &cases {
        let (status, _) = compare(&world, asked).await;
        if status.as_u16() != *expected {
            wrong.push(format!(
                "{} {}{}: {status}, not {expected}",
                asked.method, asked.host, asked.uri
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let rows = world.rows().await;
    let of = |ip: &str| rows.iter().filter(|row| row.text("ip") == ip).count();
    assert_eq!(of(BROWSER), of(BEHIND_PROXY));
    assert!(of(BROWSER) > 10, "{}", of(BROWSER));
}

#[tokio::test]
async fn an_app_decides_about_other_pages_under_passthru() {
    let mut plan = Plan::new();
    plan.cors(CorsBehavior::Passthru);
    let world = plan.serve().await;
    let foreign = ("origin", "https://evil.example");
    let cookie = format!("coder_session_token={}", world.token("alice"));
    let (_, allowed) =
        compare(&world, &asked("POST", HOST, "/", &[("cookie", &cookie), foreign])).await;
    let mut answer = Response::new(());
    let own = "https://evil.example".parse().unwrap();
    answer.headers_mut().insert("access-control-allow-origin", own);
    answer.headers_mut().insert("clear-site-data", "\"cookies\"".parse().unwrap());
    allowed.unwrap().finish(&mut answer);
    let headers = answer.headers();
    assert_eq!(headers["access-control-allow-origin"], "https://evil.example");
    assert!(!headers.contains_key("vary") && !headers.contains_key("clear-site-data"));
}

/// An app below a path has the dashboard's origin
#[tokio::test]
async fn an_answer_below_a_path_says_nothing_about_the_whole_origin() {
    let world = World::new().await;
    let session = ("coder-session-token", world.token("alice"));
    for (host, path, keeps) in
        [(HOST, "/", true), (DASHBOARD, "/@alice/dev.agent/apps/owner/", false)]
    {
        let (_, allowed) = compare(&world, &asked("GET", host, path, &[session])).await;
        let mut answer = Response::new(());
        for (name, value) in OF_ORIGIN {
            answer.headers_mut().insert(name, value.parse().unwrap());
        }
        answer.headers_mut().insert(SERVICE_WORKER_ALLOWED, "/".parse().unwrap());
        allowed.unwrap().finish(&mut answer);
        assert_eq!(answer.headers()[SERVICE_WORKER_ALLOWED], path, "{host}: its own folder");
        for (name, value) in OF_ORIGIN {
            let kept = answer.headers().get(name).is_some_and(|kept| kept == value);
            assert_eq!(
                (kept, answer.headers().contains_key(name)),
                (keeps, keeps),
                "{host} {name}"
            );
        }
    }
}

#[tokio::test]
async fn a_second_visit_costs_no_statement() {
    let world = World::new().await;
    let cookie = format!("coder_session_token={}", world.token("alice"));
    let first = asked("GET", HOST, "/", &[("accept", "text/html"), ("cookie", &cookie)]);
    let (allowed, statements) = world.counted(first.authorize(&world)).await;
    assert_eq!(statements, 2, "one that decides, and one that records");
    let allowed = allowed.unwrap_or_else(|_| panic!("alice may open her app"));
    assert_eq!(allowed.visitor(), Visitor::User(app_authz::UserId(world.people["alice"].id)));
    let mut answer = Response::new(());
    allowed.finish(&mut answer);
    let set = answer.headers()["set-cookie"].to_str().unwrap();
    let signed = set.split(';').next().unwrap();
    let again = asked("GET", HOST, "/", &[("accept", "text/html"), ("cookie", signed)]);
    let (again, statements) = world.counted(again.authorize(&world)).await;
    assert_eq!((again.is_ok(), statements), (true, 0));
}

#[tokio::test]
async fn only_a_trusted_peer_is_believed_about_the_visitor() {
    let world = World::new().await;
    let (head, ()) = Request::builder()
        .uri("/")
        .header("host", "elsewhere.example")
        .header("x-forwarded-host", HOST)
        .header("x-forwarded-for", "198.51.100.9")
        .header("accept", "text/html")
        .body(())
        .unwrap()
        .into_parts();
    let [stranger, proxy] =
        ["203.0.113.7", "127.0.0.1"].map(|peer| Peer::Address(peer.parse().unwrap()));
    for peer in [stranger, Peer::Unknown, Peer::UnixSocket] {
        assert!(!world.app.is_for_app(peer, &head), "{peer:?}");
    }
    assert!(world.app.is_for_app(proxy, &head));
    let refused = world.app.authorize(stranger, &head).await.unwrap_err();
    assert_eq!(refused.status(), StatusCode::NOT_FOUND);
    let refused = world.app.authorize(proxy, &head).await.unwrap_err();
    assert_eq!(refused.status(), StatusCode::SEE_OTHER);
    let rows = world.rows().await;
    assert_eq!((rows.len(), rows[0].text("ip")), (1, "198.51.100.9"));
}

#[tokio::test]
async fn only_paths_of_apps_are_kept_from_the_dashboard() {
    let world = World::new().await;
    for (host, uri, expected) in [
        (DASHBOARD, "/", false),
        (DASHBOARD, "/@alice", false),
        (DASHBOARD, "/@alice/dev", false),
        (DASHBOARD, "/@alice/dev/apps", false),
        (DASHBOARD, "/@alice/dev/settings/x", false),
        (DASHBOARD, "/@alice/dev/apps/", true),
        (DASHBOARD, "/@alice/dev/apps/x", true),
        (DASHBOARD, "/%40alice/dev/apps/x", true),
        (DASHBOARD, "/%2540alice/dev/apps/x", true),
        (DASHBOARD, "/api/v2/workspaceagents/x/pty", true),
        (DASHBOARD, "/api/v2/workspaceagents/x/pty/", false),
        (DASHBOARD, "/api/v2/workspaceagents/me/y/pty", false),
        (DASHBOARD, "/login", false),
        ("CODER.test.", "/@alice/dev/apps/x", true),
        ("elsewhere.example", "/", false),
        (HOST, "/", true),
        (HOST, "/login", true),
        (HOST, "/api/v2/applications/auth-redirect", true),
        (&HOST.to_ascii_uppercase(), "/", true),
        (&format!("{HOST}:8443"), "/", true),
        ("nonsense.test.coder.com", "/", true),
        ("coder-logout.test.coder.com", "/", true),
    ] {
        let request = Request::builder().uri(uri).header("host", host).body(()).unwrap();
        let (head, ()) = request.into_parts();
        assert_eq!(world.app.is_for_app(Peer::Unknown, &head), expected, "{host}{uri}");
    }
}

#[tokio::test]
async fn what_has_no_path_does_not_reach_an_app() {
    let world = World::new().await;
    let cookie = format!("coder_session_token={}", world.token("alice"));
    for (method, uri) in
        [("CONNECT", "owner--agent--dev--alice.test.coder.com:443"), ("OPTIONS", "*")]
    {
        let request = Request::builder().method(method).uri(uri).header("host", HOST);
        let (head, ()) = request.header("cookie", &cookie).body(()).unwrap().into_parts();
        assert!(world.app.is_for_app(Peer::Unknown, &head), "{method}");
        let refused = world.app.authorize(Peer::Unknown, &head).await.unwrap_err();
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{method}");
    }
}
