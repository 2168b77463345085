//! authd without a dashboard: what the proxies in front of it forward, and nothing else

use hyper::Method;

use crate::app::App;
use crate::long::address;
use crate::proxy::{Program, Proxy, read_example};
use crate::subdomain::session_cookie_name;
use crate::world::{World, header, location, set_cookies, text};

const HOST: &str = "owner--agent--dev--alice.test.coder.com";
const OWN: &str = "coder.test";
const FORGED: &str = r#"{"document": "{}", "signature": "AAAA"}"#;

/// Signs in on the way to an app, opens the start page, and signs out
async fn sign_in_and_out(program: Program, example: &str) {
    for link in ["/x?y", &address("%2F", 16_000), &address("{", 14_000), &address("%25", 30_000)] {
        sign_in_on_the_way(program, example, link).await;
    }
}

async fn sign_in_on_the_way(program: Program, example: &str, link: &str) {
    let world = World::new().await;
    let app = App::start().await;
    let authd = world.url.strip_prefix("http://").unwrap();
    // Nothing listens at these addresses.
    let nowhere = crate::real::nowhere();
    let addresses = [authd, &*app.address, &*nowhere];
    let Some(proxy) = Proxy::start(program, example, addresses, &[]).await else { return };
    let get = async |host: &str, uri: &str, cookie: &str| {
        let headers = [("cookie", cookie), ("accept", "text/html")];
        proxy.ask(Method::GET, (host, uri), &headers, "").await
    };
    let follow = |answer: &testkit::net::Answer| {
        assert_eq!(answer.status, 303, "{}", text(answer));
        let to = header(answer, "location");
        match to.starts_with('/') {
            true => to.to_owned(),
            false => {
                let to = location(answer);
                to.query()
                    .map_or_else(|| to.path().to_owned(), |query| format!("{}?{query}", to.path()))
            }
        }
    };

    let leaving = get(HOST, link, "").await;
    let (name, value, _) = &set_cookies(&leaving)[0];
    let leaving_cookie = format!("{name}={value}");
    let asked = follow(&leaving);
    assert!(asked.starts_with("/api/v2/applications/auth-redirect?"), "{asked}");
    let page = follow(&get(OWN, &asked, "").await);
    if page.len() > 65_000 {
        let head = format!("GET {page} HTTP/1.1\r\nHost: {OWN}\r\nConnection: close\r\n\r\n");
        let form = proxy.raw(&head).await;
        assert!(form.contains("<h1>Address Too Long</h1>"), "{form}");
        return;
    }
    let form = get(OWN, &page, "").await;
    assert!(form.status == 200 && text(&form).contains("<form"), "{page}: {}", text(&form));

    let back = form_urlencoded::byte_serialize(asked.as_bytes()).collect::<String>();
    let body = format!("token={}&redirect={back}", world.token("alice"));
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let signed = proxy.ask(Method::POST, (OWN, "/login"), &headers, body).await;
    let (name, value, _) = &set_cookies(&signed)[0];
    let session = format!("{name}={value}");
    assert_eq!(follow(&signed), asked);
    let arriving = follow(&get(OWN, &asked, &session).await);
    let arrived = get(HOST, &arriving, &leaving_cookie).await;
    let (name, value, _) = &set_cookies(&arrived)[0];
    assert_eq!((&**name, follow(&arrived)), (&*session_cookie_name(), link.to_owned()));
    let opened = get(HOST, link, &format!("{name}={value}")).await;
    assert_eq!((opened.status.as_u16(), app.seen().len()), (200, 1), "{}", text(&opened));
    let by_path = get(OWN, "/@alice/dev/apps/owner/x", &session).await;
    assert_eq!((by_path.status.as_u16(), app.seen().len()), (200, 1), "{}", text(&by_path));

    let home = get(OWN, "/", &session).await;
    assert!(home.status == 200 && text(&home).contains("alice"), "{}", text(&home));
    // Alice may not read the log, and learns it from authd. A forged proof comes as far.
    for (method, path, body, status) in [
        (Method::GET, "/audit", "", 403),
        (Method::GET, "/audit?from=-1h", "", 403),
        (Method::GET, "/audit/export.csv", "", 403),
        (Method::GET, "/audit/export.jsonl?x", "", 403),
        (Method::GET, "/api/v2/authd/shares?workspace=alice/dev", "", 200),
        (Method::PUT, "/api/v2/authd/shares", "{}", 400),
        (Method::POST, "/api/v2/workspaceagents/aws-instance-identity", FORGED, 401),
        (Method::POST, "/api/v2/workspaceagents/azure-instance-identity", "{}", 400),
        (Method::POST, "/api/v2/workspaceagents/google-instance-identity", "{}", 400),
    ] {
        let headers = [("cookie", &*session), ("content-type", "application/json")];
        let answer = proxy.ask(method, (OWN, path), &headers, body).await;
        assert_eq!(answer.status, status, "{path}: {}", text(&answer));
    }
    let challenge = (OWN, "/api/v2/authd/instance-identity/challenge");
    let answer = proxy.ask(Method::POST, challenge, &[], "").await;
    assert!(text(&answer).contains("No nonce is demanded."), "{}", text(&answer));
    for hidden in [
        "/metrics",
        "/healthz",
        "/readyz",
        "/api/v2/audit",
        "/api/v2/authd/import",
        "/api/v2/forward-auth/nginx",
        "/api/v2/forward-auth/nginx/answer",
        "/api/v2/forward-auth/envoy/x",
        "/api/v2/forward-auth/control-plane/nginx",
        "/api/v2/workspaceproxies/me/crypto-keys",
        "/api/v2/workspaceagents/aws-instance-identity/x",
        "/api/v2/workspaceagents/me",
        "/audit/x",
        "/audit/export.csvx",
        "/audit/export-csv",
        "/login/../metrics",
        "/x",
    ] {
        let answer = proxy
            .raw(&format!("GET {hidden} HTTP/1.1\r\nHost: {OWN}\r\nConnection: close\r\n\r\n"))
            .await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{hidden}: {answer}");
        // Each answer of authd has this header, and no page of the proxy has it.
        let is_of_authd = answer.to_lowercase().contains("x-content-type-options");
        assert!(!is_of_authd, "{hidden}: {answer}");
    }
    let out = proxy.ask(Method::POST, (OWN, "/logout"), &[("cookie", &session)], "").await;
    assert_eq!(follow(&out), "/login");
    assert_eq!(follow(&get(OWN, "/", &session).await), "/login");
}

#[tokio::test]
async fn nginx_forwards_the_routes_that_signing_in_needs() {
    sign_in_and_out(Program::Nginx, "alone.nginx.conf").await;
}

#[tokio::test]
async fn caddy_forwards_the_routes_that_signing_in_needs() {
    sign_in_and_out(Program::Caddy, "alone.Caddyfile").await;
    sign_in_and_out(Program::NewCaddy, "alone.Caddyfile").await;
}

/// The two files of each proxy have to be changed together
#[test]
fn the_examples_differ_from_the_others_only_in_the_dashboard() {
    for (usual, alone, own) in
        [("nginx.conf", "alone.nginx.conf", 14), ("Caddyfile", "alone.Caddyfile", 10)]
    {
        let (usual, alone) = (read_example(usual), read_example(alone));
        let lines: Vec<&str> = usual.lines().collect();
        let other: Vec<&str> = alone.lines().filter(|line| !lines.contains(line)).collect();
        assert!(other.len() <= own, "{}", other.join("\n"));
    }
}
