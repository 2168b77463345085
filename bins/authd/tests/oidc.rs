//! A person signs in at a real OpenID provider, with a real browser and nginx in front

#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "common/browser.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared")]
mod browser;
#[path = "common/http1.rs"]
#[allow(unreachable_pub, dead_code, reason = "shared")]
mod http1;
#[path = "common/nginx.rs"]
#[allow(unreachable_pub, reason = "shared")]
mod nginx;
#[path = "common/upstream.rs"]
#[allow(unreachable_pub, reason = "shared")]
mod upstream;
#[path = "apps/world.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared")]
mod world;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use authd_http::OidcConfig;
use store::fleet::LoginType;

use self::browser::{Browser, free_port};
use self::nginx::Nginx;
use self::upstream::upstream;
use self::world::{Plan, World};

/// The package `oidc-provider` of npm, which the OpenID Foundation has certified
struct Provider {
    issuer: String,
    process: Child,
}

impl Provider {
    /// Starts it for a client whose pages are at `dashboard` and whose server is at `authd`
    async fn start(port: u16, dashboard: &str, authd: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oidc_provider/provider.mjs");
        let process = Command::new("node")
            .arg(script)
            .env("PORT", port.to_string())
            .env("MODULES", folder())
            .env("CALLBACK", format!("{dashboard}{}", OidcConfig::CALLBACK))
            .env("LOGGED_OUT", format!("{dashboard}/login"))
            .env("BACKCHANNEL", format!("{authd}/api/v2/users/oidc/backchannel-logout"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let provider = Self { issuer: issuer(port), process };
        for _ in 0..500 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return provider;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the provider does not listen")
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn issuer(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Where `script/test` installs the package
fn folder() -> PathBuf {
    std::env::var_os("AUTHD_OIDC_PROVIDER").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/oidc-provider")),
        PathBuf::from,
    )
}

/// A browser; `None` if it, nginx or the provider is not installed
#[allow(clippy::print_stdout, reason = "reports what is skipped")]
async fn browser() -> Option<Browser> {
    let has_provider = folder().join("node_modules/oidc-provider").exists();
    if let (Some(browser), true, true) =
        (Browser::start().await, nginx::is_installed(), has_provider)
    {
        return Some(browser);
    }
    let missing = "Chromium, its driver, nginx or oidc-provider is not installed: not tried";
    assert!(std::env::var_os("AUTHD_REQUIRE_PROGRAMS").is_none(), "{missing}");
    println!("{missing}");
    None
}

/// Types an address into the provider's form, and agrees to what authd asks for
async fn sign_in(browser: &Browser, issuer: &str, address: &str) {
    browser.shows(issuer, "Sign-in").await;
    browser.type_into("input[name=login]", address).await;
    browser.type_into("input[name=password]", "any").await;
    browser.click("button[type=submit]").await;
    browser.shows(issuer, "Authorize").await;
    browser.click("button[type=submit]").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_at_the_provider_and_out() {
    let Some(browser) = browser().await else { return };
    let (port, at) = (free_port(), free_port());
    let dashboard = format!("http://coder.test:{port}");
    let world = plan(port, at).serve().await;
    let _nginx = Nginx::start(&world, ("coder.test", port), &upstream(page).await).await;
    let provider = Provider::start(at, &dashboard, &world.url).await;
    let (issuer, login) = (&*provider.issuer, format!("{dashboard}/login"));
    let app = format!("http://authed--agent--dev--alice.test.coder.com:{port}");

    // A stranger is sent to sign in, and returns to the page that was asked for.
    browser.open(&format!("{app}/some/page?x=1&y=%2F")).await;
    browser.shows(&login, "Sign in with Acme").await;
    browser.picture("sign-in-oidc").await;
    browser.click(".actions a").await;
    sign_in(&browser, issuer, "dora@example.com").await;
    browser.shows(&app, "GET /some/page").await;
    assert_eq!(browser.url().await, format!("{app}/some/page?x=1&y=%2F"));
    let groups = "SELECT u.username, g.name FROM group_members m JOIN users u ON u.id = m.user_id \
                  JOIN groups g ON g.id = m.group_id";
    assert_eq!(world.database.sql(groups).await, ["dora|makers"]);

    // Signing out leads to the provider, which signs out too, and back.
    browser.open(&dashboard).await;
    browser.shows(&dashboard, "dora").await;
    browser.click(".user button").await;
    browser.shows(issuer, "sign-out").await;
    browser.click("button[value=yes]").await;
    browser.shows(&login, "Sign in with Acme").await;
    // The session of the app has ended with it, and the provider asks again.
    browser.open(&format!("{app}/again")).await;
    browser.shows(&login, "Sign in with Acme").await;
    browser.click(".actions a").await;
    sign_in(&browser, issuer, "dora@example.com").await;
    browser.shows(&app, "GET /again").await;
    assert_eq!(keys(&world).await, 2, "a session, and one for the app");

    // The provider signs the user out: it tells authd, and no browser does.
    browser.open(&format!("{issuer}/session/end")).await;
    browser.shows(issuer, "sign-out").await;
    browser.click("button[value=yes]").await;
    browser.shows(issuer, "Sign-out Success").await;
    for _ in 0..200 {
        if keys(&world).await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(keys(&world).await, 0);
    browser.open(&format!("{app}/later")).await;
    browser.shows(&login, "Sign in with Acme").await;

    // Addresses of other domains, users who are suspended, and addresses without proof.
    for (address, words) in [
        ("mallory@evil.example", "Accounts of your e-mail domain may not sign in here"),
        ("sue@example.com", "Your account is suspended"),
        ("unverified@example.com", "Your e-mail address is not verified"),
    ] {
        browser.open(&format!("{issuer}/session/end")).await;
        if browser.text().await.contains("Yes, sign me out") {
            browser.click("button[value=yes]").await;
            browser.shows(issuer, "Sign-out Success").await;
        }
        browser.open(&login).await;
        browser.click(".actions a").await;
        sign_in(&browser, issuer, address).await;
        browser.shows(&dashboard, words).await;
        assert_eq!(keys(&world).await, 0, "{address}");
    }
    browser.picture("sign-in-oidc-refused").await;
    browser.close().await;
}

/// The number of sessions that are not those of the plan
async fn keys(world: &World) -> usize {
    let count = "SELECT count(*) FROM api_keys k JOIN users u ON u.id = k.user_id \
                 WHERE u.username = 'dora'";
    world.database.sql(count).await[0].parse().unwrap()
}

fn plan(port: u16, provider: u16) -> Plan {
    let mut plan = Plan::new();
    #[expect(clippy::disallowed_methods, reason = "browser and provider use the system's clock")]
    let now = SystemTime::now();
    plan.now = now;
    for agent in plan.rows.workspace_agents.iter_mut().filter(|agent| agent.name != "slow") {
        agent.last_connected_at = Some((now + Duration::from_secs(3600)).into());
    }
    for user in plan.rows.users.iter_mut().filter(|user| user.username == "sue") {
        user.login_type = LoginType::Oidc;
    }
    let home = plan.rows.organization("default");
    plan.rows.group("makers", home, &[]);
    plan.config.access_url = format!("http://coder.test:{port}").parse().unwrap();
    plan.config.app_hosts = Some(format!("*.test.coder.com:{port}").parse().unwrap());
    let oidc = OidcConfig::new(&issuer(provider), "authd", &plan.config.access_url).unwrap();
    let mut oidc = oidc.secret("a secret: with/special+characters");
    oidc.email_domains = vec!["example.com".to_owned()];
    oidc.group_field = Some("groups".to_owned());
    oidc.sign_in_text = "Sign in with Acme".to_owned();
    oidc.provider_logout = true;
    plan.oidc = Some(oidc);
    plan
}

/// A page that shows its request
fn page(head: &str) -> (&'static str, String) {
    let asked = head.split(" HTTP/").next().unwrap();
    ("content-type: text/html\r\n", format!("<!doctype html><title>app</title><p>{asked}</p>"))
}
