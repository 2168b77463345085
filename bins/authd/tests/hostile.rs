//! What the page of an app can do to its visitor's other apps, in a real browser behind nginx

#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "common/browser.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared")]
mod browser;
#[path = "common/http1.rs"]
#[allow(unreachable_pub, reason = "shared")]
mod http1;
#[path = "common/nginx.rs"]
#[allow(unreachable_pub, reason = "shared")]
mod nginx;
#[path = "common/recorder.rs"]
#[allow(unreachable_pub, reason = "shared")]
mod recorder;
#[path = "apps/world.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared")]
mod world;

use std::time::{Duration, SystemTime};

use app_authz::credential::SessionToken;
use app_authz::token::API_KEY_PARAMETER;
use store::fleet::{SharingLevel, Transition};
use testkit::net::TlsFront;

use self::browser::{Browser, free_port};
use self::nginx::Nginx;
use self::recorder::Recorder;
use self::world::{Plan, World, header};

/// A browser in which Alice is signed in, and apps of hers and of Bob's
struct Place {
    world: World,
    browser: Browser,
    apps: Recorder,
    /// A session of Alice in another browser
    elsewhere: SessionToken,
    port: u16,
    _nginx: Nginx,
    _tls: TlsFront,
}

/// Of the same site as the hosts of apps, as dashboards usually are
const DASHBOARD: &str = "dashboard.coder.com";

/// The app of Alice alone, one that she shares, and one of Bob's that is shared with everyone
const OWN: &str = "owner--agent--dev--alice";
const SHARED: &str = "org--agent--dev--alice";
const OF_BOB: &str = "evil--main--lair--bob";

/// `None` if the browser, its driver or nginx is not installed
#[allow(clippy::print_stdout, reason = "reports what is skipped")]
async fn place() -> Option<Place> {
    let (Some(browser), true) = (Browser::start().await, nginx::is_installed()) else {
        let missing = "Chromium, its driver or nginx is not installed: the browser is not tried";
        assert!(std::env::var_os("AUTHD_REQUIRE_PROGRAMS").is_none(), "{missing}");
        println!("{missing}");
        return None;
    };
    let inner = free_port();
    // Cookies that are bound to their host, and service workers, need TLS.
    let tls = TlsFront::start(DASHBOARD, ([127, 0, 0, 1], inner).into()).await;
    let port = tls.address.port();
    let mut plan = plan(port);
    let elsewhere = plan.rows.session(plan.people["alice"].id);
    let world = plan.serve().await;
    let apps = Recorder::start().await;
    let nginx = Nginx::start(&world, (DASHBOARD, inner), apps.address()).await;
    let place = Place { world, browser, apps, elsewhere, port, _nginx: nginx, _tls: tls };
    place.sign_in(&place.browser, place.world.token("alice")).await;
    Some(place)
}

fn plan(port: u16) -> Plan {
    let mut plan = Plan::new();
    #[expect(clippy::disallowed_methods, reason = "the browser uses the system's clock")]
    let now = SystemTime::now();
    plan.now = now;
    let bob = plan.people["bob"].id;
    let lair = plan.rows.workspace(bob, "lair");
    let build = plan.rows.build(lair, Transition::Start);
    let agent = plan.rows.agent(build.resource, "main", "i-6").id;
    plan.rows.app(agent, "evil").sharing_level = SharingLevel::Authenticated;
    for agent in plan.rows.workspace_agents.iter_mut().filter(|agent| agent.name != "slow") {
        agent.first_connected_at = Some(now.into());
        agent.last_connected_at = Some((now + Duration::from_secs(3600)).into());
    }
    plan.config.access_url = format!("https://{DASHBOARD}:{port}").parse().unwrap();
    plan.config.app_hosts = Some(format!("*.test.coder.com:{port}").parse().unwrap());
    plan.config.cookies.secure = true;
    plan
}

impl Place {
    fn dashboard(&self) -> String {
        format!("https://{DASHBOARD}:{}", self.port)
    }

    fn app(&self, label: &str) -> String {
        format!("https://{label}.test.coder.com:{}", self.port)
    }

    /// Signs Alice in with a session, and opens each app once
    async fn sign_in(&self, browser: &Browser, session: &str) {
        browser.open(&format!("{}/login", self.dashboard())).await;
        browser.type_into("#token", session).await;
        browser.click("button").await;
        browser.shows(&self.dashboard(), "Sign out").await;
        for app in [OWN, SHARED, OF_BOB] {
            browser.open(&format!("{}/", self.app(app))).await;
            browser.shows(&self.app(app), "an app").await;
        }
    }

    /// What the page at hand finds when it does `attack` to an address
    async fn attack(&self, attack: &str, address: &str) -> String {
        let address = serde_json::to_string(address).unwrap();
        let found = self.browser.script(&format!("return {attack}({address})")).await;
        found.as_str().map_or_else(|| found.to_string(), str::to_owned)
    }

    /// Whether Alice is still signed in at the dashboard
    async fn is_signed_in(&self) -> bool {
        let headers = [("coder-session-token", self.world.token("alice"))];
        self.world.send("GET", "/api/v2/applications/host", &headers, "").await.status == 200
    }
}

/// All pairs of a page and what it attacks, by every way that a page has
#[tokio::test(flavor = "multi_thread")]
async fn a_page_reaches_no_app_of_another_owner_and_no_terminal() {
    let Some(place) = place().await else { return };
    let terminal = format!("/api/v2/workspaceagents/{}/pty", place.world.agent);
    let targets = [
        ("own", place.app(OWN)),
        ("shared", place.app(SHARED)),
        ("bob", place.app(OF_BOB)),
        ("path", format!("{}/@alice/dev/apps/owner", place.dashboard())),
        ("terminal", format!("{}{terminal}", place.dashboard())),
    ];
    let mut wrong = Vec::new();
    for (page, of, siblings) in
        [("bob", OF_BOB, &[][..]), ("shared", SHARED, &["own"]), ("own", OWN, &["shared"])]
    {
        for (target, address) in &targets {
            if *target == page {
                continue;
            }
            place.browser.open(&format!("{}/page", place.app(of))).await;
            let may = siblings.contains(target);
            let mark = format!("{page}-to-{target}");
            for attack in
                ["socket", "post", "put", "form", "read", "frame", "popup", "worker", "include"]
            {
                let uri = match *target {
                    "terminal" => format!("{address}?{attack}-{mark}"),
                    _ => format!("{address}/{attack}-{mark}"),
                };
                let found = place.attack(attack, &uri).await;
                // What the page itself can tell, and what has reached an app
                let expected = match attack {
                    "socket" if may => "open",
                    "socket" => "refused",
                    // A browser sends the cookies along, and runs what it gets.
                    "include" => "included",
                    "read" if may => "read",
                    "put" if may => "read",
                    "read" | "put" | "frame" | "popup" | "worker" => "refused",
                    _ => "sent",
                };
                let changes = ["socket", "post", "put", "form"].contains(&attack);
                let arrived = place.apps.has(&format!("{attack}-{mark}"), changes);
                // What only reads arrives. The browser loads no worker from another host.
                let arrives = (may || !changes) && attack != "worker";
                if found != expected || arrived != arrives {
                    wrong.push(format!("{mark} {attack}: {found}, arrived: {arrived}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), place.apps.all().join("\n"));
    place.browser.close().await;
}

/// Forms of an app's page that would sign its visitor out of the dashboard, or in as another user
#[tokio::test(flavor = "multi_thread")]
async fn a_page_changes_nothing_at_the_dashboard() {
    let Some(place) = place().await else { return };
    for page in [OF_BOB, OWN] {
        place.browser.open(&format!("{}/page", place.app(page))).await;
        for path in [
            "/logout",
            "/api/v2/users/logout",
            "/api/v2/authd/import",
            "/api/v2/authd/shares",
            "/login",
        ] {
            let address = format!("{}{path}", place.dashboard());
            for attack in ["post", "form", "put", "read"] {
                let found = place.attack(attack, &address).await;
                let expected = if ["post", "form"].contains(&attack) { "sent" } else { "refused" };
                assert_eq!(found, expected, "{page} {attack} {path}");
            }
            let body = format!("{address}?token={}", place.world.token("bob"));
            assert_eq!(place.attack("form", &body).await, "sent");
        }
        assert!(place.is_signed_in().await, "{page}");
        for path in ["/", "/api/v2/applications/host"] {
            for attack in ["frame", "popup", "read"] {
                let address = format!("{}{path}", place.dashboard());
                assert_eq!(place.attack(attack, &address).await, "refused", "{attack} {path}");
            }
        }
    }
    place.browser.open(&format!("{}/", place.dashboard())).await;
    place.browser.shows(&place.dashboard(), "alice").await;
    place.browser.close().await;
}

/// Cookies for all hosts, and links with a session of Bob's
#[tokio::test(flavor = "multi_thread")]
async fn a_page_does_not_make_its_visitor_another_user() {
    let Some(place) = place().await else { return };
    let [alice, bob] = ["alice", "bob"].map(|name| place.world.people[name].id.to_string());
    let theirs = place.world.scoped("bob");
    let token = {
        let host = format!("{SHARED}.test.coder.com:{}", place.port);
        let session = [("coder-session-token", place.world.token("bob"))];
        let opened = place.world.visit(&host, "/", &session).await;
        assert_eq!(header(&opened, "x-authd-user"), bob);
        world::set_cookies(&opened).remove(0).1
    };
    place.browser.open(&format!("{}/page", place.app(OF_BOB))).await;
    let hosts = format!("*.test.coder.com:{}", place.port).parse().unwrap();
    let names = app_authz::credential::CookieNames::new("", Some(&hosts)).secure(true);
    let method = app_authz::app::AccessMethod::Subdomain;
    for (name, value) in [
        (names.app_session(method), theirs),
        ("coder_subdomain_app_session_token", theirs),
        ("coder_signed_app_token", &token),
        ("authd_sign_in", "000102030405060708090a0b0c0d0e0f.9.9999999999"),
        (names.signed_app_token(method), &token),
        (names.host_app_session(method).unwrap(), theirs),
        (names.sign_in(), "000102030405060708090a0b0c0d0e0f.9.9999999999"),
    ] {
        for path in ["/", "/x", "/page"] {
            let cookie = format!("{name}={value}; Domain=test.coder.com; Path={path}; Secure");
            let set = serde_json::to_string(&cookie).unwrap();
            place.browser.script(&format!("document.cookie = {set}")).await;
        }
    }
    let planted = place.browser.cookies().await;
    assert!(planted.iter().any(|name| name == "coder_signed_app_token"), "{planted:?}");
    let back = format!("{}/x", place.app(SHARED));
    for _ in 0..2 {
        // A link without a nonce, and one with Bob's own
        let mut links = vec![back.clone()];
        for nonce in ["", "&authd_nonce=000102030405060708090a0b0c0d0e0f"] {
            let back = back.replace(':', "%3A").replace('/', "%2F");
            let path = format!("/api/v2/applications/auth-redirect?redirect_uri={back}{nonce}");
            let headers = [("coder-session-token", place.world.token("bob"))];
            let sealed = place.world.send("GET", &path, &headers, "").await;
            let link = header(&sealed, "location").to_owned();
            assert!(link.contains(API_KEY_PARAMETER), "{link}");
            links.push(link);
        }
        for link in &links {
            place.apps.forget();
            place.browser.open(link).await;
            place.browser.shows(&back, "an app").await;
            let users = place.apps.users();
            assert_eq!(users, std::slice::from_ref(&alice), "{link}: {:?}", place.apps.all());
        }
        // The same once the app tokens have ended.
        place.world.move_clock(70);
    }
    // On a host that Alice has not opened before
    place.apps.forget();
    let new = place.app("authed--agent--dev--alice");
    place.browser.open(&format!("{new}/x")).await;
    place.browser.shows(&new, "an app").await;
    assert_eq!(place.apps.users(), [alice]);
    place.browser.close().await;
}

/// An app by path has the dashboard's host, and its answers could set what its scripts cannot
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_an_app_does_not_sign_its_visitor_in() {
    let Some(place) = place().await else { return };
    let app = format!("{}/@alice/dev/apps/owner/", place.dashboard());
    for name in ["__Host-coder_session_token", "__host-coder_session_token", "coder_session_token"]
    {
        let bob = place.world.token("bob");
        place.browser.open(&format!("{app}?set={name}={bob}")).await;
        place.browser.shows(&app, "an app").await;
        place.browser.open(&format!("{}/", place.dashboard())).await;
        place.browser.shows(&place.dashboard(), "alice").await;
    }
    // Other cookies arrive.
    place.browser.open(&format!("{app}?set=theme=dark")).await;
    place.browser.shows(&app, "an app").await;
    let mut kept = place.browser.cookies().await;
    kept.retain(|name| name != "coder_signed_app_token");
    kept.sort_unstable();
    assert_eq!(kept, ["__Host-coder_session_token", "theme"]);
    place.browser.close().await;
}

/// An open page goes on asking its app; the same user's page in another browser stays open
#[tokio::test(flavor = "multi_thread")]
async fn an_open_page_is_refused_soon_after_its_session_was_revoked() {
    let Some(place) = place().await else { return };
    let other = Browser::start().await.unwrap();
    place.sign_in(&other, place.elsewhere.reveal()).await;
    for browser in [&place.browser, &other] {
        browser.open(&format!("{}/page", place.app(OWN))).await;
        // A refused check leads to the dashboard, which a page of the app may not read.
        let asks = "window.answers = []; setInterval(async () => window.answers.push(await \
                    fetch('/asked').then((answer) => answer.ok, () => false)), 50)";
        browser.script(asks).await;
    }
    // As the command line or another replica does: this one is not told.
    let store = place.world.database.store().await;
    let revoked = store.revoke(place.world.people["alice"].token.id()).await.unwrap();
    assert_eq!(revoked.len(), 1 + 3, "the session, and one for each app");
    let until = "const done = arguments[0]; const began = performance.now(); \
                 setInterval(() => { if (window.answers.at(-1) === false) \
                 done(performance.now() - began) }, 10)";
    let took = place.browser.async_script(until).await;
    assert!(took.as_f64().is_some_and(|took| took < 2_000.0), "refused after {took} ms");
    for (browser, expected) in [(&place.browser, false), (&other, true)] {
        let last = browser.script("return window.answers.slice(-5)").await;
        let answers = last.as_array().unwrap();
        assert!(answers.iter().any(|answer| *answer == expected), "{last}");
    }
    let always = other.script("return window.answers.every((answer) => answer)").await;
    assert_eq!(always, true, "of the other browser");
    for browser in [place.browser, other] {
        browser.close().await;
    }
}
