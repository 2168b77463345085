//! What an app and its visitor exchange arrives as it was sent, minus what is authd's

use hyper::Method;
use tokio::io::AsyncWriteExt;

use crate::app::{BEHIND_TABS, COOKIES, OF_ORIGIN, SERVICE_WORKER_ALLOWED};
use crate::everyday::{DASHBOARD, Front, HOST, upgrade};
use crate::proxy::{Program, Proxy, read_head};
use crate::world::{Plan, header, text};

const FOLDER: &str = "/@alice/dev/apps/own";

impl Front {
    fn session(&self) -> String {
        format!("Coder-Session-Token: {}\r\n", self.world.token("alice"))
    }

    /// The answer to a request, head and body
    async fn raw(&self, line: &str, host: &str, headers: &str) -> String {
        let session = self.session();
        let head = format!(
            "{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{session}{headers}\r\n"
        );
        self.proxy.raw(&head).await
    }

    /// An app sees no header that neither its visitor sent nor the table in `docs/proxies.md` names
    async fn only_what_was_sent(&self, host: &str, folder: &str) {
        self.app.seen();
        let answer = self.raw(&format!("GET {folder}/"), host, "").await;
        let seen = self.app.seen();
        assert_eq!(seen.len(), 1, "{answer}");
        for (name, value) in &seen[0].headers {
            let of_proxy = match self.program {
                Program::Nginx => &["connection"][..],
                Program::Caddy | Program::NewCaddy => &["via", "user-agent"],
                Program::Envoy => &["x-envoy-", "content-length"],
            };
            // A proxy that knows no other way to leave it out sends it empty.
            assert!(name != "user-agent" || value.is_empty(), "{name}: {value}");
            let known = ["host", "x-forwarded-", "x-authd-", "x-request-id"];
            let known = known.iter().chain(of_proxy).any(|start| name.starts_with(start));
            assert!(known, "{:?} {host}: {name}: {value}", self.program);
            assert!(name != "content-length" || value == "0", "{value}");
        }
        let sent = "User-Agent: own/1\r\nAccept: text/x-own\r\nAccept-Encoding: br\r\nAccept-Language: fr\r\n\
                    Referer: https://r.example/x\r\nCookie: own=1; other=2\r\nX-Own: a, b\r\nDNT: 1\r\n\
                    Authorization: Basic b3duOm93bg==\r\nIf-None-Match: \"a\"\r\nSec-Fetch-Mode: cors\r\n";
        self.raw(&format!("GET {folder}/"), host, sent).await;
        let seen = self.app.seen().remove(0);
        for line in sent.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            assert_eq!(seen.header(&name.to_lowercase()), Some(value), "{:?} {host}", self.program);
        }
    }

    /// Forms of requests and answers other than a GET with 200 and a body
    async fn forms(&self, host: &str, folder: &str) {
        let place = format!("{:?} {host}", self.program);
        self.app.seen();
        let head = self.raw(&format!("HEAD {folder}/"), host, "").await.to_lowercase();
        assert_eq!(self.app.seen()[0].method, "HEAD", "{place}");
        assert!(head.contains("content-length: 1234") && head.ends_with("\r\n\r\n"), "{head}");
        let part = self.raw(&format!("GET {folder}/part"), host, "Range: bytes=2-4\r\n").await;
        let lower = part.to_lowercase();
        assert!(lower.starts_with("http/1.1 206") && lower.ends_with("\r\n\r\n234"), "{part}");
        assert!(lower.contains("content-range: bytes 2-4/10"), "{part}");
        assert!(lower.contains("x-asked: bytes=2-4"), "{part}");
        for status in [
            201, 204, 205, 226, 300, 304, 400, 401, 402, 403, 404, 405, 410, 413, 414, 418, 429,
            431, 500, 501, 502, 503, 504, 507,
        ] {
            let answer = self.raw(&format!("GET {folder}/status?{status}"), host, "").await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{place}: {answer}");
            let body = answer.split_once("\r\n\r\n").unwrap().1;
            let bodiless = [204, 205, 304].contains(&status);
            let own = if bodiless { String::new() } else { format!("own {status}") };
            // An answer without a length may come in chunks.
            assert!(body == own || bodiless && body == "0\r\n\r\n", "{place}: {answer}");
            let lower = answer.to_lowercase();
            assert!(lower.contains("www-authenticate: basic realm=\"own\""), "{place}: {answer}");
            assert!(lower.contains("etag: \"own\""), "{place}: {answer}");
        }
        let trailers = self.raw(&format!("GET {folder}/trailers"), host, "TE: trailers\r\n").await;
        assert!(trailers.contains("body"), "{place}: {trailers}");
        let arrive = matches!(self.program, Program::Caddy | Program::NewCaddy);
        assert_eq!(trailers.to_lowercase().contains("x-sum: 1"), arrive, "{place}: {trailers}");

        // A client that waits for permission to send its body gets it.
        let session = self.session();
        let mut stream = self
            .proxy
            .connect(&format!(
                "PUT {folder}/up HTTP/1.1\r\nHost: {host}\r\n{session}Expect: 100-continue\r\n\
                 Content-Length: 5\r\n\r\n"
            ))
            .await;
        let go_on = read_head(&mut stream).await;
        assert!(go_on.starts_with("HTTP/1.1 100"), "{place}: {go_on}");
        self.app.seen();
        stream.write_all(b"hello").await.unwrap();
        assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200"), "{place}");
        assert_eq!(self.app.seen()[0].body, 5, "{place}");
    }

    /// A request has one id, for the app, the visitor and the audit, which the visitor does not choose
    async fn one_id(&self) {
        let forged = "0190a8c3-52d0-7c1e-8a46-0b6dd5f6a1b2";
        for (session, user_agent) in [(true, "with a session"), (false, "without one")] {
            let place = format!("{:?} {user_agent}", self.program);
            self.app.seen();
            let token = self.world.token("alice");
            let mut headers = vec![("user-agent", user_agent), ("accept", "text/html")];
            headers.extend(session.then_some(("coder-session-token", token)));
            // Envoy believes clients with internal addresses, such as this one.
            headers.extend((self.program != Program::Envoy).then_some(("x-request-id", forged)));
            let answer = self.proxy.ask(Method::GET, (HOST, "/"), &headers, "").await;
            assert_eq!(answer.status, if session { 200 } else { 303 }, "{place}");
            let ids: Vec<_> = answer.headers.get_all("x-request-id").iter().collect();
            let [id] = &ids[..] else { panic!("{place}: {ids:?}") };
            let id = id.to_str().unwrap();
            if let Some(seen) = self.app.seen().first() {
                assert_eq!(seen.header("x-request-id"), Some(id), "{place}");
            }
            let rows = self.world.rows().await;
            let row = rows.iter().find(|row| row.text("agent") == user_agent).unwrap();
            let id: uuid::Uuid = id.parse().unwrap();
            assert_eq!(row.text("request"), id.to_string(), "{place}");
            assert_ne!(row.text("request"), forged, "{place}");
        }
    }

    /// Headers that some apps take for those of authd never arrive
    async fn forged(&self) {
        for name in
            ["X_Authd_User", "x_authd_user", "X-Authd_User", "X_Authd-Agent-Id", "X-Authd_Uri"]
        {
            self.app.seen();
            let answer = self.raw("GET /", HOST, &format!("{name}: forged\r\n")).await;
            let seen = self.app.seen();
            assert_ne!(answer.starts_with("HTTP/1.1 200"), seen.is_empty(), "{name}: {answer}");
            for (header, value) in seen.iter().flat_map(|seen| &seen.headers) {
                assert!(value != "forged", "{:?} {name} as {header}", self.program);
            }
        }
    }

    async fn cookies(&self, host: &str, folder: &str) {
        let place = (host, &*format!("{folder}/cookies"));
        cookies_are_kept((&self.proxy, self.program), place, self.world.token("alice")).await;
    }

    /// A host is the same with a final dot, and in capitals
    async fn names(&self) {
        let host = HOST.to_uppercase();
        for host in [host.as_str(), &format!("{HOST}."), &format!("{HOST}.:{}", self.proxy.port)] {
            let answer = self.raw("GET /x?y", host, "").await;
            if matches!(self.program, Program::Caddy | Program::NewCaddy) && host.contains("com.") {
                let port =
                    host.split_once(':').map_or(String::new(), |(_, port)| format!(":{port}"));
                let moved = format!("Location: http://{HOST}{port}/x?y\r\n");
                assert!(answer.starts_with("HTTP/1.1 308") && answer.contains(&moved), "{answer}");
            } else {
                assert!(answer.starts_with("HTTP/1.1 200"), "{:?} {host}: {answer}", self.program);
            }
        }
        for unknown in
            ["elsewhere.example", "test.coder.com", "x.coder.com", "coder.test.evil.example"]
        {
            let answer = self.raw("GET /", unknown, "").await;
            let is_page = answer.contains("<h1>Not Found</h1>");
            assert!(answer.starts_with("HTTP/1.1 404") && is_page, "{unknown}: {answer}");
        }
    }

    /// authd sees what a signed-out visitor asks for, so that only people who navigate are redirected
    async fn purposes(&self, host: &str, folder: &str) {
        let page = "Accept: text/html,*/*\r\n";
        for (line, headers, status) in [
            ("GET", page.to_owned(), 303),
            ("GET", format!("{page}Sec-Fetch-Mode: navigate\r\n"), 303),
            ("GET", format!("{page}Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n"), 401),
            ("GET", format!("{page}Sec-Fetch-Dest: image\r\n"), 401),
            ("GET", "Accept: application/json\r\n".to_owned(), 401),
            ("POST", format!("{page}Sec-Fetch-Mode: navigate\r\nContent-Length: 0\r\n"), 401),
            ("PROPFIND", page.to_owned(), 401),
            ("DELETE", page.to_owned(), 401),
        ] {
            let answer = self
                .proxy
                .raw(&format!(
                    "{line} {folder}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"
                ))
                .await;
            let head = answer.split_once("\r\n\r\n").unwrap().0;
            let place = format!("{:?} {line} {headers}: {head}", self.program);
            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{place}");
        }
        // More than one: the connection between proxy and authd stays usable.
        for _ in 0..3 {
            let head = upgrade(&format!("{folder}/ws"), host, page, "websocket");
            let answer = read_head(&mut self.proxy.connect(&head).await).await;
            assert!(answer.starts_with("HTTP/1.1 401"), "{:?}: {answer}", self.program);
        }
        self.everyday().socket(host, &format!("{folder}/ws")).await;
    }

    /// authd sees which page makes a request, and a page of another owner changes nothing
    async fn origins(&self, host: &str, folder: &str) {
        let own = format!("Origin: https://{host}\r\n");
        let foreign = "Origin: https://evil--main--lair--bob.test.coder.com\r\n";
        for (page, is_own) in [
            (&*own, true),
            ("Sec-Fetch-Site: same-origin\r\n", true),
            (foreign, false),
            ("Sec-Fetch-Site: same-site\r\n", false),
        ] {
            let place = format!("{:?} {host} {page}", self.program);
            self.app.seen();
            for method in ["POST", "DELETE"] {
                let headers = format!("{page}Content-Length: 0\r\n");
                let answer = self.raw(&format!("{method} {folder}/x"), host, &headers).await;
                let status = if is_own { "200" } else { "403" };
                assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{place}: {answer}");
            }
            let headers = format!("{}{page}", self.session());
            let head = upgrade(&format!("{folder}/ws"), host, &headers, "websocket");
            let answer = read_head(&mut self.proxy.connect(&head).await).await;
            let status = if is_own { "101" } else { "403" };
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{place}: {answer}");
            assert_eq!(self.app.seen().len(), if is_own { 3 } else { 0 }, "{place}");
        }
    }

    /// A page of a sibling reads refusals as it reads answers, and other pages do not
    async fn refusals(&self) {
        let sibling = "https://public--main--solo--alice.test.coder.com";
        for (origin, allowed) in [(sibling, sibling), ("https://evil.example", "")] {
            let fetch =
                [("origin", origin), ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")];
            let bob = [("coder-session-token", self.world.token("bob"))];
            for (who, status) in [(&[][..], 401), (&bob, 404)] {
                let headers = [&fetch, who].concat();
                let refused = self.proxy.ask(Method::GET, (HOST, "/"), &headers, "").await;
                let place = format!("{:?} {origin}: {}", self.program, text(&refused));
                assert_eq!(refused.status, status, "{place}");
                assert_eq!(header(&refused, "access-control-allow-origin"), allowed, "{place}");
                let credentials = header(&refused, "access-control-allow-credentials");
                assert_eq!(credentials == "true", !allowed.is_empty(), "{place}");
            }
        }
    }
}

/// An app sets cookies for its own host alone, and none of authd's, also when it opens a socket. Below a
/// path it says nothing that holds for the whole origin.
pub async fn cookies_are_kept(
    (proxy, program): (&Proxy, Program),
    (host, uri): (&str, &str),
    session: &str,
) {
    let headers = [("coder-session-token", session)];
    let answer = proxy.ask(Method::GET, (host, uri), &headers, "").await;
    assert_eq!(answer.status, 200, "{}", text(&answer));
    assert!(!answer.headers.contains_key("clear-site-data"), "{program:?} {host}");
    for (name, value) in OF_ORIGIN {
        // A host of the app's own is its origin.
        let expected = if host == DASHBOARD { "" } else { value };
        assert_eq!(header(&answer, name), expected, "{program:?} {host}");
    }
    let folder =
        uri.rsplit_once('/').filter(|_| host == DASHBOARD).map_or("", |(folder, _)| folder);
    let scope = header(&answer, SERVICE_WORKER_ALLOWED);
    assert_eq!(scope, format!("{folder}/"), "{program:?} {host}: a service worker");
    assert_eq!(text(&answer), "", "{program:?} {host}: the answer of the app");
    let lines = answer.headers.get_all("set-cookie").iter();
    are_kept(program, host, false, lines.map(|line| line.to_str().unwrap()).collect());

    let socket = upgrade(uri, host, &format!("Coder-Session-Token: {session}\r\n"), "websocket");
    let switched = read_head(&mut proxy.connect(&socket).await).await;
    assert!(switched.starts_with("HTTP/1.1 101"), "{program:?} {host}: {switched}");
    let fields = switched.lines().filter_map(|line| line.split_once(':'));
    let lines = fields.filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    are_kept(program, host, true, lines.map(|(_, line)| line.trim()).collect());
}

/// These are the app token and what a browser may be given of [`COOKIES`]
fn are_kept(program: Program, host: &str, is_socket: bool, mut lines: Vec<&str>) {
    let place = format!("{program:?} {host}, a socket: {is_socket}");
    // The token is new: the visit had a session alone.
    let token = lines.iter().position(|line| line.starts_with("coder_signed_app_token=ey"));
    let token = token.unwrap_or_else(|| panic!("{place}: {lines:?}"));
    lines.remove(token);
    lines.retain(|line| !is_ignored(line));
    let passes = |sent: &str| match program {
        Program::Nginx => sent == BEHIND_TABS,
        // This version does not change an answer that opens a socket.
        Program::Caddy => is_socket,
        Program::NewCaddy | Program::Envoy => false,
    };
    let expected = COOKIES.iter().map(|(sent, kept)| match passes(sent) {
        true => sent.trim(),
        false => *kept,
    });
    // nginx replaces the attribute, and does not remove it.
    let own = ["Domain", "domain", "DOMAIN"].map(|name| format!("; {name}={host}"));
    let lines = lines
        .iter()
        .map(|line| own.iter().fold((*line).to_owned(), |line, own| line.replace(own, "")));
    let expected: Vec<_> = expected.filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.collect::<Vec<_>>(), expected, "{place}");
}

/// Whether browsers do not keep the cookie: it is nothing, or lacks `Secure` where that is required
fn is_ignored(line: &str) -> bool {
    let line = line.to_lowercase();
    let mut parts = line.split(';').map(str::trim);
    let pair = parts.next().unwrap_or_default();
    let attributes: Vec<_> = parts.collect();
    let requires = ["__host-", "__secure-"].iter().any(|prefix| pair.starts_with(prefix));
    let is_secure = attributes.contains(&"secure");
    matches!(pair, "" | "=") || !is_secure && (requires || attributes.contains(&"samesite=none"))
}

async fn all(program: Program) {
    let Some(front) = Front::planned(program, Plan::new(), &[]).await else { return };
    for (host, folder) in [(HOST, ""), (DASHBOARD, FOLDER), (DASHBOARD, "/@alice/dev/apps/same")] {
        front.only_what_was_sent(host, folder).await;
        front.forms(host, folder).await;
        front.cookies(host, folder).await;
        front.purposes(host, folder).await;
        front.origins(host, folder).await;
    }
    front.forged().await;
    front.one_id().await;
    front.names().await;
    front.refusals().await;
}

#[tokio::test]
async fn nginx_is_faithful() {
    all(Program::Nginx).await;
}

#[tokio::test]
async fn caddy_is_faithful() {
    all(Program::Caddy).await;
}

#[tokio::test]
async fn a_newer_caddy_is_faithful() {
    all(Program::NewCaddy).await;
}

#[tokio::test]
async fn envoy_is_faithful() {
    all(Program::Envoy).await;
}

/// Browsers use HTTP/2 where a proxy offers it
#[tokio::test]
async fn http2_carries_the_same() {
    for program in [Program::Nginx, Program::Caddy, Program::NewCaddy, Program::Envoy] {
        let changes = match program {
            Program::Nginx => &[
                ("listen 80 default_server", "listen 80 http2 default_server"),
                ("listen 80;", "listen 80 http2;"),
            ][..],
            Program::Caddy | Program::NewCaddy | Program::Envoy => &[],
        };
        let Some(front) = Front::planned(program, Plan::new(), changes).await else { continue };
        let session = ("coder-session-token", front.world.token("alice"));
        let ask = async |method: &str, uri: &str, headers: &[(&str, &str)], body: Vec<u8>| {
            let method: Method = method.parse().unwrap();
            let headers = [&[session], headers].concat();
            front.proxy.ask_http2(method, (HOST, uri), &headers, body).await
        };
        let own = [("cookie", "a=1"), ("cookie", "b=2"), ("x-own", "kept")];
        let echo = ask("GET", "/a%2Fb?x&&y", &own, Vec::new()).await;
        assert_eq!(echo.status, 200, "{program:?}: {}", text(&echo));
        let seen = front.app.seen().remove(0);
        assert_eq!(seen.target, "/a%2Fb?x&&y", "{program:?}");
        assert_eq!(seen.header("cookie"), Some("a=1; b=2"), "{program:?}");
        assert_eq!(seen.header("x-own"), Some("kept"), "{program:?}");
        let up = ask("PUT", "/up", &[], vec![b'x'; 5 << 20]).await;
        assert_eq!((up.status.as_u16(), front.app.seen()[0].body), (200, 5 << 20), "{program:?}");
        let down = ask("GET", "/down", &[], Vec::new()).await;
        assert_eq!((down.status.as_u16(), down.body.len()), (200, 5 << 20), "{program:?}");
        let found = ask("PROPFIND", "/", &[("depth", "1")], Vec::new()).await;
        assert_eq!(found.status, 200, "{program:?}: {}", text(&found));
        let long = format!("/?{}", "q".repeat(12_000));
        let cookie = [("cookie", &*"c".repeat(12_000))];
        let long = ask("GET", &long, &cookie, Vec::new()).await;
        assert_eq!(long.status, 200, "{program:?}: {}", text(&long));
        let foreign = [("origin", "https://evil.example")];
        let refused = ask("POST", "/", &foreign, Vec::new()).await;
        assert_eq!(refused.status, 403, "{program:?}: {}", text(&refused));
        let fetch = [("sec-fetch-mode", "cors")];
        let signed_out = front.proxy.ask_http2(Method::GET, (HOST, "/"), &fetch, "").await;
        assert_eq!(signed_out.status, 401, "{program:?}: {}", text(&signed_out));
    }
}
