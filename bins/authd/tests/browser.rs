//! A person with a browser, nginx in front, and authd alone behind it

#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "common/browser.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared")]
mod browser;
#[path = "common/http1.rs"]
#[allow(unreachable_pub, reason = "shared")]
mod http1;
#[path = "common/live.rs"]
#[allow(unreachable_pub, reason = "shared")]
mod live;
#[path = "common/nginx.rs"]
#[allow(unreachable_pub, reason = "shared")]
mod nginx;
#[path = "common/upstream.rs"]
#[allow(unreachable_pub, reason = "shared")]
mod upstream;
#[path = "apps/world.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared")]
mod world;

use std::time::{Duration, SystemTime};

use app_authz::credential::SessionToken;

use self::browser::{Browser, free_port};
use self::live::live;
use self::nginx::Nginx;
use self::upstream::upstream;
use self::world::Plan;

/// A browser; `None` if it, its driver or nginx is not installed
#[allow(clippy::print_stdout, reason = "reports what is skipped")]
async fn browser() -> Option<Browser> {
    if let (Some(browser), true) = (Browser::start().await, nginx::is_installed()) {
        return Some(browser);
    }
    let missing = "Chromium, its driver or nginx is not installed: the browser is not tried";
    assert!(std::env::var_os("AUTHD_REQUIRE_PROGRAMS").is_none(), "{missing}");
    println!("{missing}");
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_opens_an_app_and_signs_out() {
    let Some(browser) = browser().await else { return };
    let port = free_port();
    let world = plan(port).serve().await;
    let _nginx = Nginx::start(&world, ("coder.test", port), &upstream(page).await).await;
    let host = |label: &str| format!("http://{label}.test.coder.com:{port}");
    let app = host("owner--agent--dev--alice");
    let login = format!("http://coder.test:{port}/login");

    // A stranger is sent to sign in.
    browser.open(&format!("{app}/some/page?x=1&y=%2F#part/2")).await;
    browser.shows(&format!("{login}?"), "Session token").await;
    // It had no session that could have ended.
    assert!(!browser.text().await.contains("You are signed out"));
    browser.picture("sign-in").await;
    browser.type_into("#token", "AAAAAAAAAA-BBBBBBBBBBBBBBBBBBBBBB").await;
    browser.click("button").await;
    browser.shows(&login, "This token is not valid").await;

    // After signing in, the visitor returns to the requested page, and to the part of it.
    browser.type_into("#token", world.token("alice")).await;
    browser.click("button").await;
    browser.shows(&app, "GET /some/page").await;
    assert_eq!(browser.url().await, format!("{app}/some/page?x=1&y=%2F#part/2"));
    assert_eq!(browser.text().await, "GET /some/page?x=1&y=%2F");
    let mut cookies = browser.cookies().await;
    cookies.sort_unstable();
    assert_eq!(cookies.len(), 3, "{cookies:?}");
    assert_eq!(cookies[..2], ["authd_sign_in", "coder_signed_app_token"]);

    // The second click needs no statement.
    let ((), statements) = world.counted(browser.open(&format!("{app}/next"))).await;
    assert_eq!((browser.text().await.as_str(), statements), ("GET /next", 0));

    browser.open(&host("owner--main--off--alice")).await;
    browser.shows("http://", "This workspace is stopped").await;
    browser.picture("offline").await;
    browser.open(&host("nothing--agent--dev--alice")).await;
    browser.shows("http://", "Application Not Found").await;
    assert!(browser.text().await.contains("You are signed in as alice."));
    browser.picture("not-found").await;
    browser.open(&host("slow-app--slow--dev--alice")).await;
    browser.shows("http://", "Retry").await;
    browser.picture("unavailable").await;

    // Signing out at the dashboard also signs out of apps.
    let dashboard = format!("http://coder.test:{port}/");
    browser.click(".actions a:last-child").await;
    browser.shows(&dashboard, "Sign out").await;
    assert_eq!(browser.url().await, dashboard);
    browser.picture("signed-in").await;
    browser.click(".user button").await;
    browser.shows(&login, "Session token").await;
    browser.open(&dashboard).await;
    browser.shows(&login, "Session token").await;
    world.move_clock(70);
    browser.open(&format!("{app}/again")).await;
    browser.shows(&format!("{login}?"), "Session token").await;
    browser.close().await;
}

/// Signs in on the way to an app that uses what browsers can, by host and by path
#[tokio::test(flavor = "multi_thread")]
async fn a_person_uses_an_app_that_streams_and_uploads() {
    let Some(browser) = browser().await else { return };
    let (port, app) = (free_port(), live().await);
    let mut plan = plan(port);
    plan.rows.app(plan.agent, "live").url = Some(format!("http://{app}/"));
    let sessions = [(), ()].map(|()| plan.rows.session(plan.people["alice"].id));
    let world = plan.serve().await;
    let _nginx = Nginx::start(&world, ("coder.test", port), &app).await;
    let dashboard = format!("http://coder.test:{port}");
    let by_host = format!("http://live--agent--dev--alice.test.coder.com:{port}/");
    let by_path = format!("{dashboard}/@alice/dev/apps/live/");
    for (app, session) in [by_host, by_path].iter().zip(&sessions) {
        let link = format!("{app}?q={}", "deep%2F".repeat(2_000));
        browser.open(&link).await;
        browser.shows(&dashboard, "Session token").await;
        browser.type_into("#token", session.reveal()).await;
        browser.click("button").await;
        for works in ["event first", "socket hello", "uploaded 5242880"] {
            browser.shows(&link, works).await;
        }
        // A page that is loaded with a good app token costs no statement, and neither do its
        // requests.
        let reload = async {
            browser.open(&link).await;
            browser.script("ask()").await;
            for works in ["event first", "socket hello", "uploaded 5242880", "asked 200 polled"] {
                browser.shows(&link, works).await;
            }
        };
        let ((), statements) = world.counted(reload).await;
        assert_eq!(statements, 0, "{app}");
        // When all other sessions end, a script of the open page is answered so, and is not
        // redirected to another origin.
        let id = |session: &SessionToken| session.reveal()[..10].to_owned();
        let (ended, other) = (id(session), id(&sessions[1]));
        let end = format!("DELETE FROM api_keys WHERE id <> '{other}' OR id = '{ended}'");
        world.database.sql(&end).await;
        world.move_clock(70);
        browser.script("ask()").await;
        browser.shows(&link, "asked 401 {\"message\":").await;
    }
    browser.close().await;
}

fn plan(port: u16) -> Plan {
    let mut plan = Plan::new();
    #[expect(clippy::disallowed_methods, reason = "the browser uses the system's clock")]
    let now = SystemTime::now();
    plan.now = now;
    for agent in plan.rows.workspace_agents.iter_mut().filter(|agent| agent.name != "slow") {
        agent.last_connected_at = Some((now + Duration::from_secs(3600)).into());
    }
    plan.config.access_url = format!("http://coder.test:{port}").parse().unwrap();
    plan.config.app_hosts = Some(format!("*.test.coder.com:{port}").parse().unwrap());
    plan
}

/// A page that shows its request
fn page(head: &str) -> (&'static str, String) {
    let asked = head.split(" HTTP/").next().unwrap();
    ("content-type: text/html\r\n", format!("<!doctype html><title>app</title><p>{asked}</p>"))
}
