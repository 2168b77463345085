//! Cookies that a page of another app has set for its whole domain

use hyper::StatusCode;
use serde_json::json;
use testkit::net::Answer;

use crate::sign_in::Browser;
use crate::subdomain::session_cookie_name;
use crate::world::{Plan, World, header, set_cookies, text};

const NGINX: &str = "/api/v2/forward-auth/nginx";
const HOST: &str = "owner--agent--dev--alice.test.coder.com";
const SHARED: &str = "org--agent--dev--alice.test.coder.com";
/// The names under which sessions for apps are read on their hosts
const BEFORE: &str = "coder_subdomain_app_session_token";

async fn world(secure: bool) -> World {
    let mut plan = Plan::new();
    plan.config.cookies.secure = secure;
    // Its sign-in sets a cookie that is not bound to the host.
    plan.config.has_dashboard = true;
    plan.serve().await
}

fn user(answer: &Answer) -> &str {
    header(answer, "x-authd-user")
}

fn id(world: &World, name: &str) -> String {
    world.people[name].id.to_string()
}

#[tokio::test]
async fn a_session_of_another_user_does_not_count_beside_that_of_the_host() {
    let world = world(true).await;
    for name in [BEFORE.to_owned(), session_cookie_name()] {
        for host in [HOST, SHARED] {
            let mut browser = Browser::of(&world, "alice");
            let opened = browser.go(&format!("https://{host}/")).await;
            assert_eq!(user(&opened), id(&world, "alice"));
            browser.plant(&name, world.scoped("bob"));
            // Also once the app token has ended, and its session decides.
            for _ in 0..2 {
                let opened = browser.go(&format!("https://{host}/")).await;
                assert_eq!((opened.status, user(&opened)), (StatusCode::OK, &*id(&world, "alice")));
                browser.jar.retain(|(_, name), _| !name.contains("signed_app_token"));
            }
        }
    }
}

/// A browser has a session of its own on each host of apps, so that a planted one is not its user's
#[tokio::test]
async fn a_planted_session_signs_no_browser_in_on_a_host_of_apps() {
    let world = world(true).await;
    for name in [BEFORE.to_owned(), session_cookie_name(), "coder_session_token".to_owned()] {
        for token in [world.scoped("bob"), world.token("bob")] {
            let mut browser = Browser::of(&world, "alice");
            browser.plant(&name, token);
            let opened = browser.go(&format!("https://{SHARED}/")).await;
            assert_eq!((opened.status, user(&opened)), (StatusCode::OK, &*id(&world, "alice")));

            // A visitor who is not signed in stays so, and a script of a page is told.
            let cookie = format!("{name}={token}");
            for (header, value, status) in [
                ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)", StatusCode::SEE_OTHER),
                ("sec-fetch-site", "same-origin", StatusCode::SEE_OTHER),
                ("accept-language", "en", StatusCode::SEE_OTHER),
                ("sec-fetch-mode", "cors", StatusCode::UNAUTHORIZED),
                // A program that was given the cookie
                ("user-agent", "curl/8.5.0", StatusCode::OK),
            ] {
                let mut headers = vec![("cookie", &*cookie), (header, value)];
                if header == "sec-fetch-mode" {
                    headers.push(("sec-fetch-site", "same-origin"));
                }
                let answer = world.visit(SHARED, "/", &headers).await;
                assert_eq!(answer.status, status, "{name} {header}: {}", text(&answer));
            }
        }
    }
}

/// The same at a dashboard that authd serves itself, whose sign-in page binds the session to its host
#[tokio::test]
async fn a_planted_session_signs_no_browser_in_at_a_dashboard_of_authd() {
    let path_app = "/@alice/dev/apps/org/";
    for (secure, has_dashboard) in [(true, false), (true, true), (false, false)] {
        let mut plan = Plan::new();
        plan.config.cookies.secure = secure;
        plan.config.has_dashboard = has_dashboard;
        let world = plan.serve().await;
        let [alice, bob] = ["alice", "bob"].map(|name| world.token(name));
        let is_bound = secure && !has_dashboard;
        for (cookie, is_browser, opens) in [
            (format!("coder_session_token={bob}"), true, !is_bound),
            (format!("coder_session_token={bob}"), false, true),
            (format!("__Host-coder_session_token={alice}"), true, true),
            (format!("coder_session_token={bob}; __Host-coder_session_token={alice}"), true, true),
        ] {
            let mut headers = vec![("cookie", &*cookie), ("accept", "text/html")];
            headers.extend(is_browser.then_some(("sec-fetch-site", "none")));
            let expected = if opens { StatusCode::OK } else { StatusCode::SEE_OTHER };
            let page = world.send("GET", "/", &headers, "").await;
            let visit = world.visit("coder.test", path_app, &headers).await;
            let case = format!("{secure} {has_dashboard} {cookie} {is_browser}");
            assert_eq!((page.status, visit.status), (expected, expected), "{case}");
            if cookie.contains(alice) {
                assert_eq!(user(&visit), id(&world, "alice"), "{case}");
            }
        }
    }
}

/// Without secure cookies nothing says which of two was set by another host
#[tokio::test]
async fn sessions_of_several_users_lead_to_a_page_and_never_to_either_user() {
    let world = world(false).await;
    for junk_token in [false, true] {
        for first in ["alice", "bob"] {
            let mut browser = Browser::of(&world, "alice");
            let second = if first == "alice" { "bob" } else { "alice" };
            browser.plant(BEFORE, world.scoped(first));
            let host = (SHARED.to_owned(), session_cookie_name());
            browser.jar.insert(host, world.scoped(second).to_owned());
            if junk_token {
                browser.plant("coder_signed_app_token", "junk");
            }
            let answer = browser.one(&format!("https://{SHARED}/")).await;
            assert_eq!(answer.status, StatusCode::SEE_OTHER);
            assert_eq!(user(&answer), "");
            let answer = browser.go(&format!("https://{SHARED}/")).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", text(&answer));
            assert!(text(&answer).contains("Sessions of Several Users"), "{}", text(&answer));
            assert!(text(&answer).contains("Delete the cookies"), "{}", text(&answer));
        }
    }
    // A public app opens for everyone, and a script is answered so.
    let cookie = format!("{BEFORE}={}; {BEFORE}={}", world.scoped("alice"), world.scoped("bob"));
    let public = "public--agent--dev--alice.test.coder.com";
    let opened = world.visit(public, "/", &[("cookie", &cookie)]).await;
    assert_eq!((opened.status, user(&opened)), (StatusCode::OK, "anonymous"));
    let script = [("cookie", &*cookie), ("accept", "application/json")];
    assert_eq!(world.visit(SHARED, "/", &script).await.status, StatusCode::UNAUTHORIZED);
    // Two sessions of one user are no contradiction.
    let same = format!("{BEFORE}={}; {BEFORE}={}", world.scoped("alice"), world.token("alice"));
    assert_eq!(world.visit(HOST, "/", &[("cookie", &same)]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_app_token_of_another_user_does_not_count() {
    let world = world(true).await;
    let theirs = [("coder-session-token", world.token("bob"))];
    let opened = world.visit(SHARED, "/", &theirs).await;
    let (name, token, _) = &set_cookies(&opened)[0];
    assert_eq!(name, "__Host-coder_signed_app_token");
    let mut browser = Browser::of(&world, "alice");
    // Browsers accept a name with the prefix from the host alone.
    browser.plant("coder_signed_app_token", token);
    for _ in 0..2 {
        let opened = browser.go(&format!("https://{SHARED}/")).await;
        assert_eq!((opened.status, user(&opened)), (StatusCode::OK, &*id(&world, "alice")));
    }
    let cookie = format!("coder_signed_app_token={token}");
    let answer = world.visit(SHARED, "/", &[("cookie", &cookie)]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
}

/// The path of its cookie is that of the app, so that the cookie cannot be bound to the host
#[tokio::test]
async fn an_app_token_by_path_does_not_count_beside_the_session_of_the_host() {
    let path_app = "/@alice/dev/apps/org/";
    for has_dashboard in [false, true] {
        let mut plan = Plan::new();
        plan.config.cookies.secure = true;
        plan.config.has_dashboard = has_dashboard;
        let world = plan.serve().await;
        let token = async |name: &str| {
            let session = [("coder-session-token", world.token(name))];
            let opened = world.visit("coder.test", path_app, &session).await;
            let (name, token, _) = set_cookies(&opened).remove(0);
            format!("{name}={token}")
        };
        let (own, theirs) = (token("alice").await, token("bob").await);
        let session = format!("__Host-coder_session_token={}", world.token("alice"));
        let visit = async |cookies: &[&str]| {
            let cookie = cookies.join("; ");
            let headers = [("cookie", &*cookie), ("sec-fetch-site", "none")];
            world.counted(world.visit("coder.test", path_app, &headers)).await
        };
        for cookies in [[&*theirs, &session], [&session, &theirs]] {
            let (opened, _) = visit(&cookies).await;
            assert_eq!((opened.status, user(&opened)), (StatusCode::OK, &*id(&world, "alice")));
        }
        // Her own counts, and costs no statement. So does a token where nothing contradicts it.
        for (cookies, name) in
            [(&[&*own, &session][..], "alice"), (&[&*own], "alice"), (&[&*theirs], "bob")]
        {
            let (opened, statements) = visit(cookies).await;
            let seen = (opened.status, user(&opened), statements);
            assert_eq!(seen, (StatusCode::OK, &*id(&world, name), 0), "{cookies:?}");
        }
    }
}

/// On the host of a proxy, the session that is bound to the host is sealed
#[tokio::test]
async fn an_app_token_by_path_does_not_count_beside_the_sealed_session_of_a_proxys_host() {
    let world = world(true).await;
    let app = ("sydney.coder.com", "/@alice/dev/apps/org/");
    let theirs = world.visit(app.0, app.1, &[("coder-session-token", world.token("bob"))]).await;
    let (name, theirs, _) = set_cookies(&theirs).remove(0);
    let mut browser = Browser::of(&world, "alice");
    let address = format!("https://{}{}", app.0, app.1);
    assert_eq!(user(&browser.go(&address).await), id(&world, "alice"));
    let (own, statements) = world.counted(browser.one(&address)).await;
    assert_eq!((user(&own), statements), (&*id(&world, "alice"), 0));

    // A terminal opens by a token in its query, which names the session of the dashboard.
    let terminal = format!("/api/v2/workspaceagents/{}/pty", world.agent);
    let asked = json!({ "url": format!("wss://{}{terminal}", app.0), "agentID": world.agent });
    let route = "/api/v2/applications/reconnecting-pty-signed-token";
    let headers =
        [("coder-session-token", world.token("alice")), ("content-type", "application/json")];
    let issued = world.send("POST", route, &headers, &asked.to_string()).await;
    let issued: serde_json::Value = serde_json::from_slice(&issued.body).unwrap();
    let token = issued["signed_token"].as_str().unwrap();
    let opened = browser
        .one(&format!("https://{}{terminal}?coder_signed_app_token_23db1dde={token}", app.0))
        .await;
    assert_eq!(opened.status, StatusCode::OK, "{}", text(&opened));

    browser.jar.insert((".coder.com".to_owned(), name), theirs);
    let opened = browser.go(&address).await;
    assert_eq!((opened.status, user(&opened)), (StatusCode::OK, &*id(&world, "alice")));
}

#[tokio::test]
async fn junk_before_a_session_costs_one_statement_and_hides_nothing() {
    for secure in [false, true] {
        let world = world(secure).await;
        let unknown =
            |n: usize| (0..n).map(|n| format!("{BEFORE}={n:010}-{n:022}; ")).collect::<String>();
        let own = match secure {
            true => format!("__Host-{BEFORE}={}", world.scoped("alice")),
            false => format!("{}={}", session_cookie_name(), world.scoped("alice")),
        };
        // A page can set more than are tried. Then only a session of the host itself is found.
        for (junk, opens) in [(8, true), (31, true), (100, secure)] {
            let cookie = format!("{}{own}", unknown(junk));
            let (opened, statements) =
                world.counted(world.visit(HOST, "/", &[("cookie", &cookie)])).await;
            let status = if opens { StatusCode::OK } else { StatusCode::SEE_OTHER };
            assert_eq!(opened.status, status, "{junk}, secure: {secure}");
            // The decision, and at most three for the audit.
            assert!(statements <= 4, "{statements}");
            world.move_clock(1);
        }
        // What is not a token does not count at all.
        let cookie = format!("{}{own}", format!("{BEFORE}=junk; ").repeat(150));
        assert_eq!(world.visit(HOST, "/", &[("cookie", &cookie)]).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn junk_before_an_app_token_costs_no_statement() {
    for secure in [false, true] {
        let world = world(secure).await;
        let session = [("coder-session-token", world.token("alice"))];
        let opened = world.visit(HOST, "/", &session).await;
        let (name, token, _) = &set_cookies(&opened)[0];
        let forged = format!("{}AAAA", &token[..token.len() - 4]);
        for junk in ["x", "a.b.c", "", &forged] {
            let cookie =
                format!("{}{name}={token}", format!("coder_signed_app_token={junk}; ").repeat(4));
            let (opened, statements) =
                world.counted(world.visit(HOST, "/", &[("cookie", &cookie)])).await;
            assert_eq!((opened.status, statements), (StatusCode::OK, 0), "{junk}");
        }
    }
}

/// A page can count sign-ins for a browser only where the cookie is not bound to its host
#[tokio::test]
async fn a_planted_count_of_sign_ins_does_not_keep_a_visitor_out() {
    let world = world(true).await;
    let clock = world.clock();
    let now = clock().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut browser = Browser::of(&world, "alice");
    browser.plant("authd_sign_in", &format!("{}.9.{now}", crate::world::NONCE));
    let opened = browser.go(&format!("https://{HOST}/")).await;
    assert_eq!(opened.status, StatusCode::OK, "{}", text(&opened));
}

#[tokio::test]
async fn at_the_dashboard_the_session_of_the_host_counts() {
    let world = world(true).await;
    let [alice, bob] = ["alice", "bob"].map(|name| world.token(name));
    let page = async |cookie: &str, path: &str| {
        world.send("GET", path, &[("cookie", cookie), ("accept", "text/html")], "").await
    };
    let (host, plain) = ("__Host-coder_session_token", "coder_session_token");
    let path_app = "/@alice/dev/apps/org/";
    for (cookies, expected) in [
        (vec![(plain, bob), (host, alice)], Some("alice")),
        (vec![(host, alice), (plain, bob)], Some("alice")),
        (vec![(plain, "junk"), (plain, alice)], Some("alice")),
        (vec![(plain, "AAAAAAAAAA-BBBBBBBBBBBBBBBBBBBBBB"), (plain, alice)], Some("alice")),
        (vec![(plain, alice), (plain, alice)], Some("alice")),
        (vec![(plain, bob), (plain, alice)], None),
        (vec![(plain, alice), (plain, bob)], None),
    ] {
        let cookie: Vec<_> =
            cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookie = cookie.join("; ");
        let answer = page(&cookie, "/").await;
        let visit = world.visit("coder.test", path_app, &[("cookie", &cookie)]).await;
        match expected {
            Some(name) => {
                let shown = format!("<span>{name}</span>");
                assert!(text(&answer).contains(&shown), "{cookie}: {}", text(&answer));
                assert_eq!(user(&visit), id(&world, name), "{cookie}");
            }
            // Not a redirect: the dashboard may prefer one of them, and redirect back.
            None => {
                let link =
                    format!("/api/v2/applications/auth-redirect?redirect_uri=https://{HOST}/");
                for answer in [answer, visit, page(&cookie, &link).await] {
                    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{cookie}");
                    assert!(text(&answer).contains("Several Users"), "{}", text(&answer));
                }
                let headers = [("cookie", &*cookie), ("origin", "https://coder.test")];
                let out = world.send("POST", "/api/v2/users/logout", &headers, "").await;
                assert_eq!(out.status, StatusCode::UNAUTHORIZED);
            }
        }
    }
}

#[tokio::test]
async fn the_sign_in_page_binds_its_session_to_the_host() {
    for (secure, expected) in [(true, "__Host-coder_session_token"), (false, "coder_session_token")]
    {
        let world = world(secure).await;
        let body = format!("token={}&redirect=%2F", world.token("alice"));
        let signed_in = world.send("POST", "/login", &[], &body).await;
        let (name, token, line) = &set_cookies(&signed_in)[0];
        assert_eq!(name, expected);
        assert_eq!(line.contains("; Secure"), secure, "{line}");
        assert!(line.contains("; Path=/;") && !line.contains("Domain"), "{line}");
        let cookie = format!("{name}={token}");
        // A page of another origin cannot use it to change something.
        for (origin, status) in
            [("https://owner--dev--alice.test.coder.com", 403), ("https://coder.test", 303)]
        {
            let headers = [("cookie", &*cookie), ("origin", origin)];
            let out = world.send("POST", "/logout", &headers, "").await;
            assert_eq!(out.status, status, "{origin}");
            if status == 303 {
                let gone: Vec<_> = set_cookies(&out).into_iter().map(|(name, ..)| name).collect();
                assert!(gone.iter().any(|name| name == expected), "{gone:?}");
            }
        }
    }
}

/// Requests with more cookies than a proxy or authd accepts are answered, and cost nothing
#[tokio::test]
async fn a_heap_of_cookies_is_answered() {
    let world = world(false).await;
    let bomb = "x=y".repeat(11_000);
    let (answer, statements) = world.counted(world.visit(HOST, "/", &[("cookie", &bomb)])).await;
    assert!(matches!(answer.status.as_u16(), 303 | 431), "{}", answer.status);
    assert!(statements <= 4, "{statements}");
}

/// A link can contain a session, and so that of another user
#[tokio::test]
async fn a_session_in_an_address_signs_no_browser_in() {
    let world = world(true).await;
    let terminal = format!("/api/v2/workspaceagents/{}/pty", world.agent);
    let owner = "root";
    let places = [
        (SHARED, "/x".to_owned(), "bob"),
        ("coder.test", "/@alice/dev/apps/org/x".to_owned(), "bob"),
        ("sydney.coder.com", "/@alice/dev/apps/org/x".to_owned(), "bob"),
        ("coder.test", terminal, owner),
    ];
    let navigates = &[("sec-fetch-mode", "navigate"), ("sec-fetch-site", "none")][..];
    let of_own = &[("sec-fetch-mode", "cors"), ("sec-fetch-site", "same-origin")][..];
    let of_others = &[("sec-fetch-mode", "no-cors"), ("sec-fetch-site", "same-site")][..];
    let socket = &[("sec-fetch-mode", "websocket"), ("upgrade", "websocket")][..];
    for (host, path, name) in &places {
        let foreign = [("origin", "https://evil--agent--dev--bob.test.coder.com")];
        let origin = [("origin", &*format!("https://{host}"))];
        for parameter in ["coder_session_token", "access_token"] {
            let address = format!("{path}?a=1&{parameter}={}", world.token(name));
            for (client, headers, counts) in [
                ("a program", vec![("user-agent", "curl/8.5.0")], true),
                ("a program that opens a socket", vec![("upgrade", "websocket")], true),
                ("a link", navigates.to_vec(), false),
                ("a form", [navigates, &[("x-forwarded-method", "POST")]].concat(), false),
                ("an old browser", vec![("user-agent", "Mozilla/5.0"), ("accept", "*/*")], false),
                ("a script of the app", of_own.to_vec(), true),
                ("a script of another app", of_others.to_vec(), false),
                ("a socket of the app", [socket, &origin].concat(), true),
                ("a socket of another app", [socket, &foreign].concat(), false),
            ] {
                let case = format!("{client}: {host}{path} {parameter}");
                // nginx can take the session out of the address, and its answer says what it does.
                let mut all = vec![("x-forwarded-host", *host), ("x-forwarded-uri", &address)];
                all.extend(&headers);
                let answer = world.send("GET", NGINX, &all, "").await;
                assert_eq!(answer.status == StatusCode::OK, counts, "{case} {:?}", answer.headers);
                let sets = set_cookies(&answer).iter().any(|(name, ..)| name.contains("token"));
                assert_eq!(sets, client.starts_with("a program"), "{case}");
                if counts {
                    assert_eq!(user(&answer), id(&world, name), "{case}");
                }
                let back = header(&answer, "x-authd-answer");
                assert!(!back.contains(world.token(name)), "{case} {back}");
            }
        }
    }
    // Beside a session of its own, the browser continues with that.
    let mut browser = Browser::of(&world, "alice");
    let link = format!("https://{SHARED}/x?a=1&coder_session_token={}", world.token("bob"));
    for _ in 0..2 {
        let opened = browser.go(&link).await;
        assert_eq!((opened.status, user(&opened)), (StatusCode::OK, &*id(&world, "alice")));
        assert_eq!(header(&opened, "x-authd-uri"), "/x?a=1");
    }
}

#[tokio::test]
async fn a_session_in_an_address_signs_no_browser_in_at_the_dashboard() {
    let world = world(true).await;
    let back = format!("https://{SHARED}/");
    let nonce = crate::world::NONCE;
    let redirect =
        format!("/api/v2/applications/auth-redirect?redirect_uri={back}&authd_nonce={nonce}");
    let theirs = |path: &str| {
        let mark = if path.contains('?') { '&' } else { '?' };
        format!("{path}{mark}coder_session_token={}", world.token("bob"))
    };
    let link = &[("sec-fetch-mode", "navigate"), ("sec-fetch-site", "cross-site")][..];
    let form = &[("sec-fetch-mode", "navigate"), ("origin", "https://evil.example")][..];
    let script = &[("sec-fetch-mode", "no-cors"), ("sec-fetch-site", "same-site")][..];
    let own = &[("sec-fetch-mode", "cors"), ("origin", crate::world::DASHBOARD)][..];
    let program = &[("user-agent", "curl/8.5.0")][..];
    for (method, path, headers, status) in [
        ("GET", &*redirect, link, StatusCode::SEE_OTHER),
        ("GET", "/", link, StatusCode::SEE_OTHER),
        ("GET", "/api/v2/applications/host", link, StatusCode::UNAUTHORIZED),
        ("GET", "/api/v2/applications/host", script, StatusCode::UNAUTHORIZED),
        ("GET", "/api/v2/applications/host", own, StatusCode::OK),
        ("GET", "/api/v2/applications/host", program, StatusCode::OK),
        // It would delete the cookies of the browser.
        ("POST", "/api/v2/users/logout", form, StatusCode::UNAUTHORIZED),
        ("POST", "/logout", form, StatusCode::SEE_OTHER),
    ] {
        let answer = world.send(method, &theirs(path), headers, "").await;
        let case = format!("{method} {path} {headers:?}: {}", text(&answer));
        assert_eq!((answer.status, set_cookies(&answer).len()), (status, 0), "{case}");
        let to = header(&answer, "location");
        assert!(to.is_empty() || to.contains("/login"), "{case} {to}");
    }
}
