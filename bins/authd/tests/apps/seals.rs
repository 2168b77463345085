//! Sealed sessions: to which apps they go, and where they open

use std::collections::BTreeMap;

use app_authz::token::{Feature, KeyRing, KeyStore, SealKey};
use hyper::StatusCode;
use testkit::net::Answer;

use crate::ended::replica;
use crate::sign_in::Browser;
use crate::world::{NONCE, Plan, SIGN_IN, World, header, location, set_cookies, text};

const HOST: &str = "owner--agent--dev--alice.test.coder.com";
const SHARED: &str = "org--agent--dev--alice.test.coder.com";
const PARAMETER: &str = "coder_application_connect_api_key_35e783";

/// The dashboard's answer to a user who asks for a seal
async fn ask(world: &World, user: &str, back: &str, nonce: Option<&str>) -> Answer {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("redirect_uri", back);
    if let Some(nonce) = nonce {
        query.append_pair("authd_nonce", nonce);
    }
    let path = format!("/api/v2/applications/auth-redirect?{}", query.finish());
    let headers = [("coder-session-token", world.token(user)), ("accept", "text/html")];
    world.send("GET", &path, &headers, "").await
}

/// Names of the cookies that an answer sets
fn set(answer: &Answer) -> Vec<String> {
    set_cookies(answer).into_iter().map(|(name, ..)| name).collect()
}

/// The user who visits, for an app that is told so
fn user(answer: &Answer) -> &str {
    header(answer, "x-authd-user")
}

#[tokio::test]
async fn a_seal_goes_only_to_an_app_that_its_user_may_open() {
    let mut plan = Plan::new();
    plan.share_port(8080, store::fleet::SharingLevel::Authenticated);
    let world = plan.serve().await;
    let keys = async || world.database.sql("SELECT count(*) FROM api_keys").await;
    let before = keys().await;
    let terminal = format!("https://sydney.coder.com/api/v2/workspaceagents/{}/pty", world.agent);
    let mut made = 0;
    for (who, back, status, reason) in [
        ("alice", "https://owner--dev--alice.test.coder.com/", 303, ""),
        ("bob", "https://owner--dev--alice.test.coder.com/", 404, "not_shared"),
        ("root", "https://owner--dev--alice.test.coder.com/", 303, ""),
        ("bob", "https://org--dev--alice.test.coder.com/", 303, ""),
        ("carol", "https://org--dev--alice.test.coder.com/", 404, "not_member"),
        ("carol", "https://authed--dev--alice.test.coder.com/", 303, ""),
        ("carol", "https://public--dev--alice.test.coder.com/", 303, ""),
        ("alice", "https://9090--agent--dev--alice.test.coder.com/", 303, ""),
        ("bob", "https://9090--agent--dev--alice.test.coder.com/", 404, "not_shared"),
        ("carol", "https://8080--agent--dev--alice.test.coder.com/", 303, ""),
        // Hosts below the pattern that are no app's
        ("alice", "https://nothing--dev--alice.test.coder.com/", 404, "no_app"),
        ("alice", "https://owner--nothing--alice.test.coder.com/", 404, ""),
        ("alice", "https://owner--dev--me.test.coder.com/", 404, ""),
        ("alice", "https://coder-logout.test.coder.com/", 404, ""),
        ("alice", "https://anything.test.coder.com/", 400, ""),
        ("alice", "https://www.sydney.coder.com/", 400, ""),
        ("alice", "https://owner--off--alice.test.coder.com/", 400, "workspace_stopped"),
        ("alice", "https://command--dev--alice.test.coder.com/", 502, ""),
        // Apps below the paths of a proxy
        ("alice", "https://sydney.coder.com/@alice/dev/apps/owner/x", 303, ""),
        ("bob", "https://sydney.coder.com/@alice/dev/apps/owner/x", 404, "not_shared"),
        ("alice", "https://sydney.coder.com/", 404, ""),
        ("alice", "https://sydney.coder.com/@alice/dev/other", 404, ""),
        ("alice", &terminal, 404, ""),
    ] {
        let recorded = world.rows().await.len();
        let answer = ask(&world, who, back, None).await;
        assert_eq!(answer.status, status, "{who} {back}: {}", text(&answer));
        made += u32::from(status == 303);
        let sealed = header(&answer, "location").contains(&format!("{PARAMETER}=ey"));
        assert_eq!(sealed, status == 303, "{who} {back}");
        // A refusal is a page that says so, and is recorded as that of a visit.
        if status != 303 {
            assert!(text(&answer).contains("<h1>"), "{who} {back}: {}", text(&answer));
        }
        if reason == "not_shared" {
            let page = text(&answer);
            assert!(page.contains("Application Not Found"), "{page}");
            assert!(page.contains(&format!("signed in as <strong>{who}")), "{page}");
        }
        let rows = world.rows().await;
        if reason.is_empty() {
            assert_eq!(rows.len(), recorded, "{who} {back}: {rows:?}");
        }
        let of_user = |row: &crate::world::Row| {
            row.text("reason") == reason && row.user() == world.people[who].id
        };
        assert!(reason.is_empty() || rows.iter().any(of_user), "{who} {back}: {rows:?}");
    }
    let before: u32 = before[0].parse().unwrap();
    assert_eq!(keys().await, [(before + made).to_string()], "a refusal makes no session");

    // Deciding costs one statement, and another makes the session.
    let back = format!("https://{HOST}/");
    let ((), statements) =
        world.counted(async { drop(ask(&world, "alice", &back, None).await) }).await;
    assert_eq!(statements, 2);
    let nothing = "https://owner--nothing--alice.test.coder.com/";
    let ((), statements) =
        world.counted(async { drop(ask(&world, "bob", nothing, None).await) }).await;
    assert_eq!(statements, 1);
}

#[tokio::test]
async fn a_seal_opens_on_the_host_that_asked_for_it_alone() {
    let world = World::new().await;
    let sealed = location(&ask(&world, "alice", &format!("https://{HOST}/x"), Some(NONCE)).await);
    let uri = format!("{}?{}", sealed.path(), sealed.query().unwrap());
    let other_app = format!("/@alice/dev/apps/owner/?{}", sealed.query().unwrap());
    for (host, uri) in [
        (SHARED, &uri),
        ("owner--dev--alice.test.coder.com", &uri),
        ("x---owner--agent--dev--alice.test.coder.com", &uri),
        ("owner--agent--dev--alice.sydney.coder.com", &uri),
        ("sydney.coder.com", &other_app),
    ] {
        let arrived = world.visit(host, uri, &[("cookie", SIGN_IN)]).await;
        assert_eq!((arrived.status, set(&arrived)), (StatusCode::SEE_OTHER, vec![]), "{host}");
        let clean = header(&arrived, "location");
        assert!(!clean.contains(PARAMETER), "{clean}");
    }
    // That did not spend it.
    let upper = HOST.to_uppercase();
    let arrived = world.visit(&upper, &uri, &[("cookie", SIGN_IN)]).await;
    assert_eq!(set(&arrived).len(), 2, "{:?}", arrived.headers);
}

/// The session of another user, as an attacker can put it into a link: without a nonce, with the
/// attacker's own, or as the control plane seals it
#[tokio::test]
async fn a_link_with_the_session_of_another_user_does_not_sign_its_reader_in() {
    for secure in [false, true] {
        let mut plan = Plan::new();
        plan.config.cookies.secure = secure;
        plan.config.has_dashboard = true;
        let world = plan.serve().await;
        let clock = world.clock();
        let rows = world.database.store().await.keys(Feature::WorkspaceAppsApiKey).await.unwrap();
        let ring = KeyRing::<SealKey>::new(&rows).unwrap();
        let theirs = ring.seal(&world.people["bob"].scoped.clone().into(), clock()).unwrap();
        let back = format!("https://{SHARED}/");
        let links = [
            header(&ask(&world, "bob", &back, None).await, "location").to_owned(),
            header(&ask(&world, "bob", &back, Some(NONCE)).await, "location").to_owned(),
            format!("{back}?{PARAMETER}={theirs}"),
        ];
        let alice = world.people["alice"].id.to_string();
        for link in &links {
            // Into a browser that is signed in nowhere
            let mut browser = Browser { jar: BTreeMap::new(), ..Browser::of(&world, "alice") };
            let answer = browser.one(link).await;
            assert!(set(&answer).iter().all(|name| name.contains("sign_in")), "{:?}", set(&answer));
            let answer = browser.go(link).await;
            assert!(text(&answer).contains("<h1>Sign in</h1>"), "{}", text(&answer));
            // Into one that is signed in at the dashboard alone, and into one that is at the app
            let mut browser = Browser::of(&world, "alice");
            for _ in 0..2 {
                let arrived = browser.go(link).await;
                assert_eq!((arrived.status, user(&arrived)), (StatusCode::OK, &*alice));
            }
        }
    }
}

/// A program that has the token asks with a header, and follows the redirect itself
#[tokio::test]
async fn a_program_opens_its_own_seal_and_no_browser_opens_it() {
    let world = World::new().await;
    let back = format!("https://{HOST}/x");
    let cookie = format!("coder_session_token={}", world.token("alice"));
    let bearer = format!("Bearer {}", world.token("alice"));
    let parameter = format!("&coder_session_token={}", world.token("alice"));
    for (query, credential, is_program) in [
        ("", ("coder-session-token", world.token("alice")), true),
        ("", ("authorization", &*bearer), true),
        // A link or a page can make a browser send these.
        ("", ("cookie", &*cookie), false),
        (&*parameter, ("x-other", "y"), false),
    ] {
        let path = format!("/api/v2/applications/auth-redirect?redirect_uri={back}{query}");
        let answer = world.send("GET", &path, &[credential], "").await;
        let sealed = location(&answer);
        let uri = format!("/x?{}", sealed.query().unwrap());
        for header in [
            ("user-agent", "Mozilla/5.0"),
            ("accept-language", "de"),
            ("referer", "https://evil.example/"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-dest", "document"),
            ("upgrade-insecure-requests", "1"),
            ("cookie", "own=1"),
        ] {
            let answer = world.visit(HOST, &uri, &[header]).await;
            assert_eq!(set(&answer), ["authd_sign_in"], "{header:?} {:?}", answer.headers);
        }
        assert!(set(&world.visit(SHARED, &uri, &[]).await).is_empty());
        let arrived = world.visit(HOST, &uri, &[]).await;
        let opened = set(&arrived).iter().any(|name| name.contains("session_token"));
        assert_eq!(opened, is_program, "{credential:?}");
        assert_eq!(header(&arrived, "location") == back, is_program);
        // Once
        assert!(
            !set(&world.visit(HOST, &uri, &[]).await).iter().any(|name| name.contains("token"))
        );
    }
}

#[tokio::test]
async fn a_stolen_seal_opens_in_no_other_browser() {
    let world = World::new().await;
    let sealed = location(&ask(&world, "alice", &format!("https://{HOST}/"), Some(NONCE)).await);
    let uri = format!("/?{}", sealed.query().unwrap());
    let other = SIGN_IN.replace("0001", "ffff");
    for cookie in ["", &other, "authd_sign_in=", "authd_sign_in=.0.0", "own=1"] {
        let answer = world.visit(HOST, &uri, &[("cookie", cookie)]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{cookie}");
        assert!(set(&answer).iter().all(|name| name == "authd_sign_in"), "{:?}", set(&answer));
    }
    // Once in the browser it is for.
    let arrived = world.visit(HOST, &uri, &[("cookie", SIGN_IN)]).await;
    assert_eq!(set(&arrived).len(), 2);
    let again = world.visit(HOST, &uri, &[("cookie", SIGN_IN)]).await;
    assert_eq!((again.status, set(&again)), (StatusCode::SEE_OTHER, vec![]));
}

/// A copy of an address opens nowhere a second time, on whichever replica
#[tokio::test]
async fn a_seal_opens_once_over_all_replicas() {
    let plan = Plan::new();
    let config = plan.config.clone();
    let mut world = plan.serve().await;
    let replicas = [world.url.clone(), replica(&world, config).await];
    let has_session = |answer: &Answer| set(answer).iter().any(|name| name.contains("session"));
    let seal = async |world: &World, nonce| {
        let sealed = location(&ask(world, "alice", &format!("https://{HOST}/"), nonce).await);
        format!("/?{}", sealed.query().unwrap())
    };
    let of_browser = (Some(NONCE), &[("cookie", SIGN_IN)][..]);
    for (nonce, headers) in [of_browser, (None, &[])] {
        for second in [0, 1] {
            world.url.clone_from(&replicas[0]);
            let uri = seal(&world, nonce).await;
            let (opened, statements) = world.counted(world.visit(HOST, &uri, headers)).await;
            assert_eq!((has_session(&opened), statements), (true, 1), "{nonce:?}");
            let before = world.statements.get();
            world.url.clone_from(&replicas[second]);
            let again = world.visit(HOST, &uri, headers).await;
            assert_eq!(again.status, StatusCode::SEE_OTHER);
            assert!(!has_session(&again), "{nonce:?} {second}");
            // The same replica knows it without a question, and only its questions are counted.
            assert_eq!(world.statements.get(), before);
        }
    }
    // The seal of a session that has ended opens nowhere.
    let uri = seal(&world, Some(NONCE)).await;
    let store = world.database.store().await;
    store.revoke(world.people["alice"].token.id()).await.unwrap();
    assert!(!has_session(&world.visit(HOST, &uri, of_browser.1).await));
}

/// While the database does not answer, a replica opens what it has not opened itself
#[tokio::test]
async fn a_seal_opens_without_the_database() {
    let world = World::new().await;
    let seal = async || {
        let back = format!("https://{HOST}/");
        let sealed = location(&ask(&world, "alice", &back, Some(NONCE)).await);
        format!("/?{}", sealed.query().unwrap())
    };
    let opens = async |uri: &str| {
        let answer = world.visit(HOST, uri, &[("cookie", SIGN_IN)]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        set(&answer).iter().any(|name| name.contains("session"))
    };
    let [late, failed] = [seal().await, seal().await];
    // It does not answer in time.
    let locked = world.database.hold("LOCK TABLE authd_app_sessions").await;
    assert_eq!((opens(&late).await, opens(&late).await), (true, false));
    locked.commit().await;
    // It answers with an error.
    world.database.sql("ALTER TABLE authd_app_sessions RENAME TO hidden").await;
    assert_eq!((opens(&failed).await, opens(&failed).await), (true, false));
}

/// A link of the dashboard leads through `auth-redirect` before the browser was at the app's host
#[tokio::test]
async fn a_visitor_who_comes_from_the_dashboard_arrives() {
    for secure in [false, true] {
        let mut plan = Plan::new();
        plan.config.cookies.secure = secure;
        plan.config.has_dashboard = true;
        let world = plan.serve().await;
        let mut browser = Browser::of(&world, "alice");
        let link = format!(
            "https://coder.test/api/v2/applications/auth-redirect?redirect_uri=https%3A%2F%2F{HOST}%2Fx%3Fa%3D1"
        );
        for n in 0..3 {
            let arrived = browser.go(&link).await;
            assert_eq!(arrived.status, StatusCode::OK, "{n}: {}", text(&arrived));
            assert_eq!(user(&arrived), world.people["alice"].id.to_string());
            assert_eq!(header(&arrived, "x-authd-uri"), "/x?a=1");
        }
        // A browser that drops the cookies of the host gets a page and no endless redirects.
        let mut browser = Browser { keeps: false, ..Browser::of(&world, "alice") };
        let answer = browser.go(&link).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(text(&answer).contains("Sign-in Does Not Hold"), "{}", text(&answer));
    }
}

/// As if a server that does not know nonces answered in the dashboard's place
#[tokio::test]
async fn seals_that_stay_unbound_lead_to_a_page() {
    let world = World::new().await;
    let rows = world.database.store().await.keys(Feature::WorkspaceAppsApiKey).await.unwrap();
    let ring = KeyRing::<SealKey>::new(&rows).unwrap();
    let clock = world.clock();
    let mut browser = Browser::of(&world, "alice");
    for _ in 0..20 {
        let sealed = ring.seal(&world.people["alice"].scoped.clone().into(), clock()).unwrap();
        let answer = browser.one(&format!("https://{HOST}/?{PARAMETER}={sealed}")).await;
        if answer.status != StatusCode::SEE_OTHER {
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            assert!(text(&answer).contains("Sign-in Does Not Hold"), "{}", text(&answer));
            return;
        }
        assert_eq!(set(&answer), ["authd_sign_in"]);
        assert!(header(&answer, "location").starts_with("https://coder.test/api/v2/applications/"));
    }
    panic!("a browser gives up before it gets the page");
}

/// The page of an app sees the addresses that lead to its host, for example with a service worker.
/// Bob's page sends Alice to the dashboard with a nonce of Bob's, and passes him the seal.
#[tokio::test]
async fn what_a_hosts_app_obtains_opens_nothing_elsewhere() {
    let mut plan = Plan::new();
    plan.config.cookies.secure = true;
    let world = plan.serve().await;
    let sealed = location(&ask(&world, "alice", &format!("https://{SHARED}/"), Some(NONCE)).await);
    let uri = format!("/?{}", sealed.query().unwrap());
    let his = format!("__Host-{SIGN_IN}");
    let opened =
        world.visit(SHARED, &uri, &[("cookie", &his), ("user-agent", "Mozilla/5.0")]).await;
    let cookies = set_cookies(&opened);
    let session = cookies.iter().find(|(name, ..)| name.contains("session_token")).unwrap();
    assert_eq!(session.0, "__Host-coder_subdomain_app_session_token");
    assert!(!session.2.contains("Domain"), "{}", session.2);
    let value = &session.1;
    let alice = world.people["alice"].id.to_string();
    let is_alice = async |host: &str, cookie: &str| {
        user(&world.visit(host, "/", &[("cookie", cookie)]).await) == alice
    };
    let names = [
        "__Host-coder_subdomain_app_session_token",
        "__Host-coder_session_token",
        "__Host-coder_path_app_session_token",
        "coder_session_token",
        "coder_subdomain_app_session_token",
        "coder_path_app_session_token",
    ];
    assert!(is_alice(SHARED, &format!("{}={value}", names[0])).await);
    for name in names {
        let cookie = format!("{name}={value}");
        for host in
            [HOST, "authed--agent--dev--alice.test.coder.com", "org--dev--alice.test.coder.com"]
        {
            assert!(!is_alice(host, &cookie).await, "{host} {name}");
        }
        for (host, uri) in [
            ("coder.test", "/@alice/dev/apps/owner/"),
            ("sydney.coder.com", "/@alice/dev/apps/owner/"),
            (HOST, &format!("/?{PARAMETER}={value}")),
            (SHARED, &format!("/?{PARAMETER}={value}")),
        ] {
            let answer = world.visit(host, uri, &[("cookie", &cookie)]).await;
            assert_ne!(answer.status, StatusCode::OK, "{host} {name}");
            assert!(!set(&answer).iter().any(|name| name.contains("token")), "{host} {name}");
        }
        let page =
            world.send("GET", "/", &[("cookie", &cookie), ("accept", "text/html")], "").await;
        assert_eq!(page.status, StatusCode::SEE_OTHER);
    }
    // Nor is the seal of an address a cookie.
    let link = sealed.query().unwrap().split_once('=').unwrap().1;
    assert!(!is_alice(SHARED, &format!("{}={link}", names[0])).await);
}
