//! Whatever a visitor writes is not an error of the server

use hyper::StatusCode;
use serde_json::{Value, json};
use testkit::net::Answer;

use crate::log::Log;
use crate::world::{ISSUE, Plan, World, by_path, by_subdomain, header, text};

const HOST: &str = "owner--agent--dev--alice.test.coder.com";
const CARRIERS: [&str; 8] = [
    "caddy",
    "envoy",
    "nginx",
    "traefik",
    "control-plane/caddy",
    "control-plane/envoy",
    "control-plane/nginx",
    "control-plane/traefik",
];

/// The world of the other tests, with an app whose URL its template wrote wrongly
fn plan() -> Plan {
    let mut plan = Plan::new();
    for (slug, url) in [("wrong", "http://user@127.0.0.1:80"), ("ftp", "ftp://127.0.0.1")] {
        plan.rows.app(plan.agent, slug).url = Some(url.to_owned());
    }
    plan
}

/// The status that a visitor gets through a proxy, or from authd itself
async fn through(world: &World, carrier: &str, visit: &Visit<'_>) -> (u16, Answer) {
    let Visit { host, uri, headers } = visit;
    let path = format!("/api/v2/forward-auth/{carrier}");
    let (path, forwarded) = if carrier == "direct" {
        ((*uri).to_owned(), vec![("host", *host)])
    } else if carrier.ends_with("envoy") {
        (format!("{path}{uri}"), vec![("host", *host)])
    } else {
        (path, vec![("x-forwarded-host", *host), ("x-forwarded-uri", *uri)])
    };
    let answer = world.send("GET", &path, &[&forwarded, &headers[..]].concat(), "").await;
    let relayed = header(&answer, "x-authd-answer").replace('-', "+").replace('_', "/");
    if relayed.is_empty() {
        return (answer.status.as_u16(), answer);
    }
    let relayed = format!("{relayed}{}", &"==="[..(4 - relayed.len() % 4) % 4]);
    let relayed: Value =
        serde_json::from_slice(&openssl::base64::decode_block(&relayed).unwrap()).unwrap();
    (u16::try_from(relayed["status"].as_u64().unwrap()).unwrap(), answer)
}

struct Visit<'a> {
    host: &'a str,
    uri: &'a str,
    headers: Vec<(&'a str, &'a str)>,
}

/// The lines of the log that say that the server failed
fn errors(log: &Log) -> Vec<Value> {
    log.lines().into_iter().filter(|line| line["level"] == "ERROR").collect()
}

#[tokio::test]
async fn an_address_that_leads_to_nothing_has_a_status_of_its_own() {
    let world = plan().serve().await;
    let log = Log::begin();
    let session = [("coder-session-token", world.token("alice"))];
    for (host, uri, status) in [
        // Names
        ("owner--dev--me.test.coder.com", "/", 404),
        ("owner--dev--ME.test.coder.com", "/", 404),
        ("9090--agent--dev--me.test.coder.com", "/", 404),
        ("coder.test", "/@alice/.agent/apps/owner/", 404),
        ("coder.test", "/@alice/dev./apps/owner/", 200),
        ("coder.test", "/@alice/dev.a.b/apps/owner/", 404),
        // Ports: below a path, and without an agent
        ("coder.test", "/@alice/dev/apps/8080/", 400),
        ("coder.test", "/@alice/dev.agent/apps/8080S/", 400),
        ("909--dev--alice.test.coder.com", "/", 400),
        ("8080--dev--alice.test.coder.com", "/", 400),
        ("8--agent--dev--alice.test.coder.com", "/", 400),
        ("65536--agent--dev--alice.test.coder.com", "/", 404),
        // Terminals
        ("coder.test", "/api/v2/workspaceagents/x/pty", 404),
        ("coder.test", "/api/v2/workspaceagents/%00/pty", 404),
        ("coder.test", "/api/v2/workspaceagents/00000000000000000000000000000000/pty", 404),
        // Apps that cannot be opened, by the fault of their template
        ("command--dev--alice.test.coder.com", "/", 502),
        ("wrong--dev--alice.test.coder.com", "/", 502),
        ("coder.test", "/@alice/dev/apps/ftp/", 502),
        // Hosts and ports that are not valid
        ("owner--dev--alice.test.coder.com:99999", "/", 200),
        ("owner--dev--alice.test.coder.com:", "/", 404),
        ("owner--dev--alice.test.coder.com..", "/", 404),
        ("a..test.coder.com", "/", 404),
        (".test.coder.com", "/", 404),
        ("-.test.coder.com", "/", 400),
        // Paths that leave the app
        (HOST, "//evil.example", 200),
        (HOST, "/../..", 200),
        (HOST, "/%2e%2e/", 200),
        (HOST, "", 307),
        (HOST, "?x=1", 307),
        // Seals and tokens in the query
        (HOST, "/?coder_application_connect_api_key_35e783=x", 400),
        (HOST, "/?coder_application_connect_api_key_35e783=a.b.c.d.e", 400),
        ("coder.test", "/@alice/dev/apps/owner/?coder_application_connect_api_key_35e783=x", 400),
    ] {
        for carrier in CARRIERS {
            let visit = Visit { host, uri, headers: session.to_vec() };
            // The control plane's checks lower the host, and Envoy sends a path that has a slash.
            if carrier.ends_with("envoy") && !uri.starts_with('/') {
                continue;
            }
            let (got, answer) = through(&world, carrier, &visit).await;
            assert_eq!(got, status, "{carrier} {host}{uri}: {}", text(&answer));
        }
    }
    assert_eq!(errors(&log), Vec::<Value>::new());
}

#[tokio::test]
async fn a_broken_template_is_a_warning_and_not_an_error() {
    let world = plan().serve().await;
    let log = Log::begin();
    let session = [("coder-session-token", world.token("alice")), ("accept", "application/json")];
    for (host, words, warns) in [
        ("wrong--dev--alice.test.coder.com", "URL in its template is not valid", true),
        ("command--dev--alice.test.coder.com", "run in a terminal", false),
        ("909--dev--alice.test.coder.com", "has to name its agent", false),
    ] {
        let answer = world.visit(host, "/", &session).await;
        assert!(text(&answer).contains(words), "{host}: {}", text(&answer));
        let lines = log.lines();
        let warnings: Vec<&Value> = lines.iter().filter(|line| line["level"] == "WARN").collect();
        assert_eq!(!warnings.is_empty(), warns, "{lines:?}");
        assert!(warnings.iter().all(|line| line["reason"] == "invalid_app_url"), "{warnings:?}");
        assert!(lines.iter().all(|line| line["level"] != "ERROR"), "{lines:?}");
    }
    assert!(world.rows().await.is_empty());
}

/// The routes that strangers and visitors reach on the dashboard's host
#[tokio::test]
async fn other_requests_of_strangers_are_not_errors_either() {
    let world = plan().serve().await;
    let log = Log::begin();
    let session = ("coder-session-token", world.token("alice"));
    let root = ("coder-session-token", world.token("root"));
    let json_body = ("content-type", "application/json");
    let form = ("content-type", "application/x-www-form-urlencoded");
    const REDIRECT: &str = "/api/v2/applications/auth-redirect";
    for uri in [
        "",
        "x",
        "https%3A%2F%2F",
        "https%3A%2F%2F%5B",
        "https%3A%2F%2Fa%20b",
        "https%3A%2F%2F%00",
        "%FF%FE",
        "https%3A%2F%2Fowner--dev--alice.test.coder.com%3A99999%2F",
        "https%3A%2F%2Fowner--dev--me.test.coder.com%2F%2e%2e",
        "https%3A%2F%2Fowner--dev--alice.test.coder.com%2F%5C%23%00",
        "javascript%3Aalert(1)",
    ] {
        for headers in [vec![], vec![session], vec![session, ("accept", "application/json")]] {
            let path = format!("{REDIRECT}?redirect_uri={uri}");
            let answer = world.send("GET", &path, &headers, "").await;
            let is_refused = matches!(answer.status.as_u16(), 303 | 400 | 401 | 404);
            assert!(is_refused, "{path}: {} {}", answer.status, text(&answer));
        }
    }
    for (method, path, headers, body) in [
        ("GET", "/login?redirect=%00%FF&message=%00", vec![], ""),
        ("GET", "/login?redirect=//evil&redirect=\\\\evil", vec![], ""),
        ("POST", "/login", vec![form], "token=%00&redirect=%0d%0aSet-Cookie:x"),
        ("POST", "/login", vec![form], "token=0123456789-0123456789012345678901&redirect=%FF"),
        ("POST", "/login", vec![form], "\u{fffd}%zz=&&&=="),
        ("POST", "/logout", vec![], ""),
        ("POST", "/api/v2/users/logout", vec![("coder-session-token", "x")], ""),
        ("GET", "/api/v2/audit?app=%00", vec![root], ""),
        ("GET", "/api/v2/audit?app=%FF&from=9999-12-31T23:59:60Z", vec![root], ""),
        (
            "GET",
            "/api/v2/audit?after=ffffffffffffffff00000000000000000000000000000000",
            vec![root],
            "",
        ),
        ("GET", "/api/v2/audit?limit=-1", vec![root], ""),
        ("GET", "/api/v2/forward-auth/nginx/answer", vec![("x-authd-answer", "e30")], ""),
        ("GET", "/api/v2/forward-auth/nginx/answer", vec![("x-authd-answer", "%%%")], ""),
        ("GET", "/api/v2/forward-auth/traefik", vec![("x-forwarded-uri", "*")], ""),
        ("GET", "/api/v2/forward-auth/envoy", vec![("host", "")], ""),
        ("GET", "/\\\\%00", vec![("host", "[")], ""),
        ("POST", ISSUE, vec![json_body], "{}"),
        (
            "POST",
            "/api/v2/workspaceagents/aws-instance-identity",
            vec![json_body],
            "{\"document\":\"\\u0000\",\"signature\":\"AA==\"}",
        ),
        (
            "POST",
            "/api/v2/workspaceagents/azure-instance-identity",
            vec![json_body],
            "{\"signature\":\"AA==\",\"encoding\":\"pkcs7\"}",
        ),
    ] {
        let answer = world.send(method, path, &headers, body).await;
        assert!(answer.status.as_u16() < 500, "{method} {path}: {}", text(&answer));
    }
    // A genuine header of RS256 with a key that is not known, while no keys can be fetched
    let token = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.e30.AAAA";
    let body = json!({ "json_web_token": token }).to_string();
    let path = "/api/v2/workspaceagents/google-instance-identity";
    let answer = world.send("POST", path, &[json_body], &body).await;
    assert!(matches!(answer.status.as_u16(), 401 | 503), "{}", text(&answer));

    // A session that only looks like one, and a terminal without a UUID
    let url = "wss://sydney.coder.com/api/v2/workspaceagents/x/pty";
    let body = json!({ "url": url, "agentID": "x" }).to_string();
    let looks = ("coder-session-token", "0123456789-0123456789012345678901");
    let path = "/api/v2/applications/reconnecting-pty-signed-token";
    let answer = world.send("POST", path, &[looks, json_body], &body).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", text(&answer));
    assert_eq!(errors(&log), Vec::<Value>::new());
}

/// The headers in which the proxy forwards the visitor's address, and the address of the row
#[tokio::test]
async fn an_address_that_is_not_known_is_not_recorded_as_the_proxys() {
    let world = plan().serve().await;
    let session = ("coder-session-token", world.token("alice"));
    for (n, (forwarded, ip)) in [
        (Some("203.0.113.9"), Some("203.0.113.9")),
        (Some("203.0.113.9:5000, 10.0.0.1"), Some("203.0.113.9")),
        (Some("[2001:db8::7]:5000"), Some("2001:db8::7")),
        (Some("unknown"), None),
        (Some("_hidden, 203.0.113.9"), None),
        (Some("localhost"), None),
        (Some("203.0.113.300"), None),
        (Some(""), None),
        (Some(", 203.0.113.9"), None),
        (None, None),
    ]
    .into_iter()
    .enumerate()
    {
        let agent = format!("browser/{n}");
        let mut headers = vec![
            ("x-forwarded-host", HOST),
            ("x-forwarded-uri", "/"),
            ("user-agent", &*agent),
            session,
        ];
        headers.extend(forwarded.map(|value| ("x-forwarded-for", value)));
        let answer = world.send("GET", "/api/v2/forward-auth/traefik", &headers, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{forwarded:?}");
        let rows = world.rows().await;
        let row = rows.iter().find(|row| row.text("agent") == agent).unwrap();
        assert_eq!(row.0["ip"], json!(ip), "{forwarded:?}");
    }

    // A session for apps: the column of the control plane does not hold null.
    let back = format!("https%3A%2F%2F{HOST}%2F");
    let path = format!("/api/v2/applications/auth-redirect?redirect_uri={back}");
    for (forwarded, ip) in
        [(Some("unknown"), "0.0.0.0"), (None, "0.0.0.0"), (Some("192.0.2.5"), "192.0.2.5")]
    {
        let mut headers = vec![session];
        headers.extend(forwarded.map(|value| ("x-forwarded-for", value)));
        let answer = world.send("GET", &path, &headers, "").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", text(&answer));
        let newest = "SELECT host(ip_address) FROM api_keys WHERE login_type = 'password'
                      AND token_name = '' ORDER BY created_at DESC, id LIMIT 100";
        let stored = world.database.sql(newest).await;
        assert!(stored.iter().any(|stored| stored == ip), "{forwarded:?}: {stored:?}");
        assert!(!stored.iter().any(|stored| stored == "127.0.0.1"), "{forwarded:?}: {stored:?}");
    }
}

/// The visitors of the control plane's own proxies: statuses as the control plane's, without lines
/// that say that authd failed
#[tokio::test]
async fn visitors_of_other_proxies_leave_no_errors() {
    let world = plan().serve().await;
    let log = Log::begin();
    let owner = world.token("alice").to_owned();
    for (envelope, status) in [
        (by_path("me", "dev", "agent", "owner", &owner), 500),
        (by_path("alice", "dev", "agent", "8080", &owner), 500),
        (by_subdomain("alice", "dev", "", "8080", &owner), 500),
        (by_path("alice", "dev", "agent", "wrong", &owner), 500),
        (by_path("alice", "dev", "agent", "OWNER", &owner), 201),
        (by_path("alice", "dev", "AGENT", "owner\u{0}", &owner), 404),
    ] {
        assert_eq!(world.issue(envelope.clone()).await.status.as_u16(), status, "{envelope}");
    }
    assert_eq!(errors(&log), Vec::<Value>::new());
}

/// Requests made of parts that browsers, proxies and attackers write, from a fixed seed
#[tokio::test]
async fn no_request_makes_an_internal_error() {
    const HOSTS: [&str; 24] = [
        "owner--dev--alice",
        "Owner--Agent--Dev--Alice",
        "--",
        "a--b--c--d--e",
        "pre---",
        "x---y",
        "9090--agent--dev--alice",
        "9090S--agent--dev--alice",
        "909--dev--alice",
        "command--dev--alice",
        "wrong--dev--alice",
        "public--dev--alice",
        "coder-logout",
        "%61--dev--alice",
        "a_b--dev--alice",
        "me--me--me",
        "owner--dev--me",
        "\u{e9}--dev--alice",
        "0--agent--dev--alice",
        "xn--x--dev--alice",
        "external--dev--alice",
        "query--dev--alice",
        "owner--off--alice",
        "",
    ];
    const DOMAINS: [&str; 10] = [
        ".test.coder.com",
        ".TEST.coder.COM",
        ".test.coder.com.",
        ".test.coder.com:99999",
        ".test.coder.com:0",
        ".sydney.coder.com",
        "coder.test",
        "coder.test.",
        ".",
        ":",
    ];
    const SEGMENTS: [&str; 34] = [
        "/",
        "//",
        "/.",
        "/..",
        "/%2e%2e",
        "/@alice",
        "/%40alice",
        "/@%61lice",
        "/@me",
        "/@",
        "/dev",
        "/dev.agent",
        "/.agent",
        "/dev.",
        "/d%65v",
        "/apps",
        "/owner",
        "/%6Fwner",
        "/8080",
        "/command",
        "/wrong",
        "/%00",
        "/%",
        "/%zz",
        "/%FF",
        "/%2F",
        "\\",
        "/a b",
        "/\u{e9}",
        "/api/v2/workspaceagents/",
        "/pty",
        "/{}",
        "/<script>",
        "/;a=b",
    ];
    const QUERIES: [&str; 16] = [
        "",
        "?",
        "?a=1&&b",
        "?%00=%FF",
        "?coder_session_token=x",
        "?coder_application_connect_api_key_35e783=x.y.z",
        "?coder_signed_app_token_23db1dde=a.b.c",
        "?coder_application_connect_api_key_35e783=",
        "?access_token=0123456789-0123456789012345678901",
        "?coder_session_token=0123456789-0123456789012345678901",
        "?redirect_uri=%00",
        "??",
        "?#",
        "?\"<>",
        "?%",
        "?=&=&=",
    ];
    const HEADERS: [(&str, &str); 22] = [
        ("cookie", "coder_session_token=x; coder_signed_app_token=a.b.c; =; ;;"),
        ("cookie", "coder_signed_app_token=eyJhbGciOiJIUzUxMiIsImtpZCI6Ijk5OTkifQ.e30.AAAA"),
        ("cookie", "coder_subdomain_app_session_token=\"; a"),
        ("authorization", "Bearer 0123456789-0123456789012345678901"),
        ("authorization", "Basic %%%"),
        ("coder-session-token", "\u{e9}"),
        ("x-forwarded-for", "unknown"),
        ("x-forwarded-for", ","),
        ("x-forwarded-for", "::ffff:1.2.3.4%x"),
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-method", "OPTIONS"),
        ("x-forwarded-method", "\u{e9}"),
        ("origin", "null"),
        ("origin", "https://public--dev--alice.test.coder.com"),
        ("origin", "x"),
        ("access-control-request-method", "GET"),
        ("accept", "application/json"),
        ("accept", "text/html;q=0"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-mode", "\u{e9}"),
        ("upgrade", "websocket"),
        ("user-agent", "\u{0441}\u{7f}"),
    ];
    let world = plan().serve().await;
    let log = Log::begin();
    let tokens = [world.token("alice").to_owned(), world.token("sue").to_owned()];
    let mut random = Random(0x5eed);
    for n in 0..1_500 {
        let host = format!("{}{}", random.of(&HOSTS), random.of(&DOMAINS));
        let mut uri: String = (0..=random.below(6)).map(|_| random.of(&SEGMENTS)).collect();
        uri.push_str(random.of(&QUERIES));
        let mut headers: Vec<(&str, &str)> =
            (0..random.below(3)).map(|_| random.of(&HEADERS)).collect();
        if random.below(3) == 0 {
            headers.push(("coder-session-token", tokens[random.below(2)].as_str()));
        }
        let carrier = *CARRIERS.get(random.below(CARRIERS.len() + 1)).unwrap_or(&"direct");
        if headers.iter().any(|(_, value)| value.contains('\u{7f}')) {
            headers.retain(|(_, value)| !value.contains('\u{7f}'));
        }
        // A client that does not encode its path cannot send it as a URL of ours.
        let is_sent = !(carrier.ends_with("envoy") || carrier == "direct")
            || format!("http://x{uri}").parse::<hyper::Uri>().is_ok() && !uri.contains('#');
        if !is_sent || host.is_empty() {
            continue;
        }
        let visit = Visit { host: &host, uri: &uri, headers };
        let (status, answer) = through(&world, carrier, &visit).await;
        let case = format!("{n}: {carrier} {host} {uri} {:?}", visit.headers);
        assert!(status < 500 || status == 502, "{case}: {status} {}", text(&answer));
        let failed = errors(&log);
        assert!(failed.is_empty(), "{case}: {failed:?}");
    }
}

/// A linear congruential generator: the same numbers in every run
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}
