//! Signing in at an app's host with a browser that keeps cookies, or does not

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use app_authz::address::HttpUrl;
use testkit::net::Answer;
use tokio::task::JoinSet;

use crate::purpose::check;
use crate::world::{World, header, set_cookies, text};

const HOST: &str = "owner--agent--dev--alice.test.coder.com";
const OTHER: &str = "org--agent--dev--alice.test.coder.com";
const DASHBOARD: &str = "coder.test";

/// A browser that navigates, with the cookies of all hosts
#[derive(Clone)]
pub struct Browser<'a> {
    pub world: &'a World,
    /// By the host or the domain, and the name
    pub jar: BTreeMap<(String, String), String>,
    /// Whether it keeps the cookies of apps
    pub keeps: bool,
}

impl<'a> Browser<'a> {
    pub fn of(world: &'a World, user: &str) -> Self {
        let mut jar = BTreeMap::new();
        let session = world.token(user).to_owned();
        jar.insert((DASHBOARD.to_owned(), "coder_session_token".to_owned()), session);
        Self { world, jar, keeps: true }
    }

    /// One request, without following a redirect
    pub async fn one(&mut self, address: &str) -> Answer {
        let url: HttpUrl = address.parse().unwrap();
        let is_sent = |(at, _): &(String, String)| {
            url.host() == at || at.starts_with('.') && url.host().ends_with(at)
        };
        let cookies: Vec<_> = self.jar.iter().filter(|(at, _)| is_sent(at)).collect();
        let cookies: Vec<_> =
            cookies.iter().map(|((_, name), value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let headers = [
            ("cookie", &*cookies),
            ("sec-fetch-mode", "navigate"),
            ("accept", "text/html"),
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"),
        ];
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let uri = format!("{}{query}", url.path());
        let answer = match url.host() {
            DASHBOARD => self.world.send("GET", &uri, &headers, "").await,
            host => check(self.world, "caddy", ("GET", host, &uri), &headers).await,
        };
        for (name, value, line) in set_cookies(&answer) {
            let domain = line.split_once("Domain=").map(|(_, rest)| {
                format!(".{}", rest.split(';').next().unwrap().trim_start_matches('.'))
            });
            let key = (domain.unwrap_or_else(|| url.host().to_owned()), name);
            if !self.keeps && url.host() != DASHBOARD {
                continue;
            }
            match line.contains("Max-Age=0") {
                true => drop(self.jar.remove(&key)),
                false => drop(self.jar.insert(key, value)),
            }
        }
        answer
    }

    /// The answer after at most twenty redirects, as browsers follow them
    pub async fn go(&mut self, address: &str) -> Answer {
        let mut answer = self.one(address).await;
        for _ in 0..20 {
            if !answer.status.is_redirection() {
                return answer;
            }
            let next = header(&answer, "location").to_owned();
            answer = self.one(&next).await;
        }
        panic!("a loop at {}", header(&answer, "location"));
    }

    /// Sets a cookie as a page of a sibling host can: for the domain of all of them
    pub fn plant(&mut self, name: &str, value: &str) {
        self.jar.insert((".test.coder.com".to_owned(), name.to_owned()), value.to_owned());
    }

    fn forget_sessions(&mut self) {
        self.jar
            .retain(|(_, name), _| name == "coder_session_token" || name.contains("authd_sign_in"));
    }
}

#[tokio::test]
async fn tabs_that_are_restored_together_all_arrive() {
    let world = World::new().await;
    for known in [false, true] {
        let mut browser = Browser::of(&world, "alice");
        if known {
            // It was here before, and its session has ended since.
            assert_eq!(browser.go(&format!("https://{HOST}/")).await.status, 200);
            browser.forget_sessions();
        }
        let mut tabs = Vec::new();
        for n in 0..12 {
            tabs.push(
                header(&browser.one(&format!("https://{HOST}/tab{n}")).await, "location")
                    .to_owned(),
            );
        }
        let mut seals = Vec::new();
        for tab in &tabs {
            seals.push(header(&browser.one(tab).await, "location").to_owned());
        }
        for (n, seal) in seals.iter().enumerate() {
            let arrived = browser.go(seal).await;
            assert_eq!(arrived.status, 200, "tab {n}: {}", text(&arrived));
            assert_eq!(header(&arrived, "x-authd-uri"), format!("/tab{n}"));
        }
    }
}

#[tokio::test]
async fn repeated_sign_ins_and_frames_of_several_apps_arrive() {
    let world = World::new().await;
    let mut browser = Browser::of(&world, "alice");
    for n in 0..10 {
        for host in [HOST, OTHER] {
            let arrived = browser.go(&format!("https://{host}/{n}")).await;
            assert_eq!(arrived.status, 200, "{n}: {}", text(&arrived));
        }
        // Signed out, and back at once.
        browser.forget_sessions();
    }
}

#[tokio::test]
async fn a_browser_that_drops_the_cookies_of_apps_gets_a_page() {
    let world = World::new().await;
    let mut browser = Browser { keeps: false, ..Browser::of(&world, "alice") };
    for host in [HOST, OTHER, HOST] {
        let answer = browser.go(&format!("https://{host}/")).await;
        assert_eq!(answer.status, 400);
        assert!(text(&answer).contains("Sign-in Does Not Hold"), "{}", text(&answer));
        assert!(text(&answer).contains("<a href=\"\">Retry</a>"));
    }
}

/// The cookies arrive, and the session does not count, as on a replica that lags behind
#[tokio::test]
async fn a_browser_whose_sessions_do_not_count_gets_a_page() {
    let world = World::new().await;
    let mut browser = Browser::of(&world, "alice");
    let mut address = format!("https://{HOST}/");
    for _ in 0..20 {
        let answer = browser.one(&address).await;
        browser.forget_sessions();
        if !answer.status.is_redirection() {
            assert_eq!(answer.status, 400);
            assert!(text(&answer).contains("Sign-in Does Not Hold"));
            // Half a minute later it may try again.
            world.move_clock(31);
            assert_ne!(browser.go(&format!("https://{HOST}/")).await.status, 400);
            return;
        }
        address = header(&answer, "location").to_owned();
    }
    panic!("a browser gives up before it gets the page");
}

#[tokio::test]
async fn a_seal_opens_in_the_browser_that_asked_for_it() {
    let world = World::new().await;
    let mut bob = Browser::of(&world, "bob");
    let mut alice = Browser::of(&world, "alice");
    let mut fresh = Browser { jar: BTreeMap::new(), ..Browser::of(&world, "alice") };
    let away = header(&bob.one(&format!("https://{OTHER}/")).await, "location").to_owned();
    let link = header(&bob.one(&away).await, "location").to_owned();

    // A browser without any session, and one with its own, are sent to sign in themselves.
    let answer = fresh.one(&link).await;
    let names: Vec<_> = set_cookies(&answer).into_iter().map(|(name, ..)| name).collect();
    assert_eq!((answer.status.as_u16(), &names[..]), (303, &["authd_sign_in".to_owned()][..]));
    let answer = fresh.go(&link).await;
    assert!(text(&answer).contains("<h1>Sign in</h1>"), "{}", text(&answer));
    let mut other = Browser::of(&world, "alice");
    let arrived = other.go(&link).await;
    assert_eq!(header(&arrived, "x-authd-user"), world.people["alice"].id.to_string());
    // A browser that is signing in itself is led to do that.
    let own = header(&alice.one(&format!("https://{OTHER}/x")).await, "location").to_owned();
    let answer = alice.one(&link).await;
    assert_eq!((answer.status.as_u16(), set_cookies(&answer).len()), (303, 0));
    assert_eq!(header(&answer, "location"), format!("https://{OTHER}/"));
    let arrived = alice.go(&own).await;
    assert_eq!(header(&arrived, "x-authd-user"), world.people["alice"].id.to_string());
    // The link is not spent.
    let arrived = bob.go(&link).await;
    assert_eq!(header(&arrived, "x-authd-user"), world.people["bob"].id.to_string());

    let bad = format!("{}x", own);
    assert_eq!(alice.one(&bad).await.status, 400);
}

#[tokio::test]
async fn parallel_requests_of_one_page_cost_one_decision() {
    let world = Arc::new(World::new().await);
    // The directory answers only once all have asked.
    let locked = world.database.hold("LOCK TABLE workspaces").await;
    let mut visits = JoinSet::new();
    for n in 0..30 {
        let world = Arc::clone(&world);
        visits.spawn(async move {
            let session = [("coder-session-token", world.token("alice"))];
            world.visit(HOST, &format!("/{n}"), &session).await
        });
    }
    // One of them is the request for the metrics.
    while metric(&world, "authd_http_requests_in_flight").await <= 30 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    locked.commit().await;
    let answers = visits.join_all().await;
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", text(answer));
        assert_eq!(set_cookies(answer), set_cookies(&answers[0]));
    }
    let paths: BTreeSet<_> = answers.iter().map(|answer| header(answer, "x-authd-uri")).collect();
    assert_eq!(paths.len(), 30);
    assert_eq!(metric(&world, "authd_app_visits_total{outcome=\"ok\"}").await, 1);
    assert_eq!(world.rows().await.len(), 1);
}

async fn metric(world: &World, name: &str) -> u64 {
    let metrics = text(&world.send("GET", "/metrics", &[], "").await);
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().unwrap())
}
