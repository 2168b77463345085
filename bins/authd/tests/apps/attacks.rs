//! Attacks by strangers

use hyper::StatusCode;
use testkit::net::Answer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{ISSUE, Plan, TRAEFIK, World, by_path, header, page, set_cookies, text};

const HOST: &str = "owner--agent--dev--alice.test.coder.com";

#[tokio::test]
async fn echoed_text_is_never_markup() {
    let world = World::new().await;
    let evil = "\"><script>alert(1)</script><img src=x onerror='a'>";
    let session = [("coder-session-token", world.token("alice"))];
    let mut pages = vec![
        world.visit(&format!("{evil}.test.coder.com"), "/", &session).await,
        world.visit("coder.test", &format!("/@me/{evil}/apps/x/"), &session).await,
        world.visit("coder.test", &format!("/@alice/{evil}/apps/{evil}/?{evil}"), &session).await,
        world.visit(HOST, &format!("/{evil}?{evil}"), &[]).await,
        world.visit(HOST, "/?coder_application_connect_api_key_35e783=<script>", &[]).await,
        world.send("GET", &format!("/{}", "x".repeat(20)), &[("host", evil)], "").await,
    ];
    for field in ["access_method", "base_path", "username_or_id", "agent_name_or_id", "app_prefix"]
    {
        let mut visit = by_path("alice", "dev", "agent", "owner", world.token("alice"));
        visit["app_request"][field] = evil.into();
        pages.push(world.issue(visit).await);
    }
    let mut base = by_path("alice", "dev", "agent", "owner", "");
    base["path_app_base_url"] = format!("https://x/{evil}").into();
    pages.push(world.issue(base).await);
    for page in pages {
        let html = text(&page);
        assert!(!html.contains("<script>alert"), "{html}");
        assert!(!html.contains("<img"), "{html}");
        let location = header(&page, "location");
        assert!(!location.contains('<') && !location.contains('"'), "{location}");
        if header(&page, "content-type").starts_with("text/html") {
            let policy = header(&page, "content-security-policy");
            assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
            assert_eq!(header(&page, "x-content-type-options"), "nosniff");
            assert_eq!(header(&page, "cache-control"), "no-store");
        }
    }
}

#[tokio::test]
async fn oversized_requests_are_cheap_to_reject() {
    let world = World::new().await;
    let good = world.visit(HOST, "/", &[("coder-session-token", world.token("alice"))]).await;
    let (name, token, _) = &set_cookies(&good)[0];
    let forged = format!("{name}={}AAAA; ", &token[..token.len() - 4]);
    for (junk, status) in [
        (format!("{name}=x; ").repeat(200), 200),
        (forged.repeat(4), 200),
        (forged.repeat(16), 303),
    ] {
        let cookie = format!("{junk}{name}={token}");
        let answer = world.visit(HOST, "/", &[("cookie", &cookie)]).await;
        assert_eq!(answer.status, status, "sixteen signatures are verified");
    }

    for cookie in ["a=b; ".repeat(4_000), "=".repeat(20_000), format!("x={}", "y".repeat(20_000))] {
        let answer = world.visit(HOST, "/", &[("cookie", &cookie)]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
    }
    let keys = (0..200).map(|n| format!("coder_session_token={n:010}-{n:022}")).collect::<Vec<_>>();
    let (answer, statements) =
        world.counted(world.visit(HOST, "/", &[("cookie", &keys.join("; "))])).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert!(statements <= 2, "{statements}");
    let huge = world.visit(HOST, "/", &[("x-large", &"z".repeat(500_000))]).await;
    assert_eq!(huge.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let long = format!("/{}", "p/".repeat(6_000));
    let answer = world.visit(HOST, &long, &[]).await;
    assert!(answer.status.is_redirection() || answer.status.is_client_error());
    let mut visit = by_path("alice", "dev", "agent", "owner", world.token("alice"));
    visit["user_agent"] = "u".repeat(70_000).into();
    assert_eq!(world.issue(visit).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn forwarded_headers_of_strangers_are_ignored() {
    let mut plan = Plan::new();
    plan.config.trusted.origins = vec!["192.0.2.1".parse().unwrap()];
    let world = plan.serve().await;
    let public = "public--agent--dev--alice.test.coder.com";
    let headers = [
        ("host", HOST),
        ("x-forwarded-host", public),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-real-ip", "192.0.2.1"),
        ("forwarded", "for=192.0.2.1;host=coder.test"),
        ("accept", "text/html"),
    ];
    let answer = world.send("GET", "/", &headers, "").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "the host in `Host` is not a public app");
    let rows = world.rows().await;
    assert_eq!((rows[0].text("target"), rows[0].text("ip")), ("owner", "127.0.0.1"));
    assert_eq!(world.send("GET", TRAEFIK, &headers, "").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn ambiguous_framing_is_rejected() {
    let world = World::new().await;
    let proxy = world.proxy.reveal();
    let smuggled = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    for framing in [
        format!("content-length: 2\r\ncontent-length: {}\r\n\r\n{{}}", 2 + smuggled.len()),
        format!("content-length: 2, {}\r\n\r\n{{}}", 2 + smuggled.len()),
        "content-length: +2\r\n\r\n{}".to_owned(),
        "transfer-encoding: chunked, identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".to_owned(),
        "content-length : 2\r\n\r\n{}".to_owned(),
    ] {
        let head = format!(
            "POST {ISSUE} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
             coder-external-proxy-token: {proxy}\r\n{framing}{smuggled}"
        );
        let mut stream = tokio::net::TcpStream::connect(world.url.strip_prefix("http://").unwrap())
            .await
            .unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answers = Vec::new();
        let reading = stream.read_to_end(&mut answers);
        let _ = tokio::time::timeout(std::time::Duration::from_millis(500), reading).await;
        let answers = String::from_utf8_lossy(&answers);
        assert!(!answers.contains("200 OK"), "{framing:?}: {answers}");
        assert!(
            answers.starts_with("HTTP/1.1 400") || answers.is_empty(),
            "{framing:?}: {answers}"
        );
    }
}

#[tokio::test]
async fn addresses_that_are_not_ascii_are_accepted() {
    let world = World::new().await;
    let ask = async |head: String| {
        let address = world.url.strip_prefix("http://").unwrap();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let session = format!("coder-session-token: {}\r\nconnection: close", world.token("alice"));
    let forwarded = async |host: &str, uri: &str| {
        let head = format!("GET {TRAEFIK} HTTP/1.1\r\nhost: x\r\nx-forwarded-host: {host}\r\n");
        ask(format!("{head}x-forwarded-uri: {uri}\r\n{session}\r\n\r\n")).await
    };
    let opened = forwarded(HOST, "/ä?ö").await;
    assert!(opened.starts_with("HTTP/1.1 200"), "{opened}");
    assert!(opened.contains("x-authd-uri: /ä?ö\r\n"), "{opened}");
    let folder = "/@alice/dev/apps/owner?ä";
    let head = format!("GET {folder} HTTP/1.1\r\nhost: coder.test\r\n{session}\r\n\r\n");
    for sent in [forwarded("coder.test", folder).await, ask(head).await] {
        let location = "location: https://coder.test/@alice/dev/apps/owner/?%C3%A4\r\n";
        assert!(sent.contains(location), "{sent}");
    }

    // A request that names two hosts is for neither.
    let two = format!("GET /x HTTP/1.1\r\nhost: {HOST}\r\nhost: coder.test\r\n{session}\r\n\r\n");
    let two = ask(two).await;
    assert!(two.starts_with("HTTP/1.1 404"), "{two}");
}

#[tokio::test]
async fn existing_and_missing_targets_look_the_same_to_strangers() {
    let world = World::new().await;
    // A visitor who may open neither gets the same answer for an existing and a missing target.
    let bob = [("coder-session-token", world.token("bob"))];
    let hidden = world.visit(HOST, "/", &bob).await;
    let nothing = world.visit("owner--agent--nothing--alice.test.coder.com", "/", &bob).await;
    // A link leads back to the address that was asked for.
    let page = |answer: &Answer, host: &str| page(answer).replace(host, "HOST");
    let unknown = page(&nothing, "owner--agent--nothing--alice");
    assert_eq!(
        (hidden.status, page(&hidden, "owner--agent--dev--alice")),
        (nothing.status, unknown.clone())
    );
    let sleeping = world.visit("slow-app--slow--dev--alice.test.coder.com", "/", &bob).await;
    assert_eq!(page(&sleeping, "slow-app--slow--dev--alice"), unknown);
}
