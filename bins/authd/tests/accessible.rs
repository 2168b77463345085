//! All pages in a real browser, checked by axe: light, dark, and as narrow as a phone

#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "common/browser.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared")]
mod browser;
#[path = "common/nginx.rs"]
#[allow(unreachable_pub, reason = "shared")]
mod nginx;
#[path = "apps/world.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared")]
mod world;

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use authd_http::{Branding, Logo, OidcConfig};
use serde_json::{Value, json};
use store::fleet::{AppHealth, SharingLevel, Transition};

use self::browser::{Browser, free_port};
use self::nginx::Nginx;
use self::world::{Plan, World};

/// The sources of axe, and a browser; `None` if one of them is not installed
#[allow(clippy::print_stdout, reason = "reports what is skipped")]
async fn checked_browser() -> Option<(String, Browser)> {
    let folder = std::env::var_os("AUTHD_AXE").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/axe")),
        PathBuf::from,
    );
    let axe = std::fs::read_to_string(folder.join("package/axe.min.js"));
    if let (Ok(axe), Some(browser), true) = (axe, Browser::start().await, nginx::is_installed()) {
        return Some((axe, browser));
    }
    let missing = "axe, Chromium, its driver or nginx is not installed: pages are not checked";
    assert!(std::env::var_os("AUTHD_REQUIRE_PROGRAMS").is_none(), "{missing}");
    println!("{missing}");
    None
}

const LOGO: &[u8] = br##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#0b57b7"/><path d="M9 22 16 9l7 13z" fill="#fff"/></svg>"##;

fn plan(port: u16) -> Plan {
    let mut plan = Plan::new();
    #[expect(clippy::disallowed_methods, reason = "the browser uses the system's clock")]
    let now = SystemTime::now();
    plan.now = now;
    let bob = plan.people["bob"].id;
    let lair = plan.rows.workspace(bob, "data-science");
    let build = plan.rows.build(lair, Transition::Start);
    let agent = plan.rows.agent(build.resource, "main", "i-6").id;
    for (slug, name, health) in [
        ("jupyter", "JupyterLab", AppHealth::Healthy),
        ("tensorboard", "TensorBoard", AppHealth::Unhealthy),
        (
            "long",
            "An app with a name that is as long as names of apps may be, 64 c",
            AppHealth::Disabled,
        ),
    ] {
        let app = plan.rows.app(agent, slug);
        app.display_name = name.to_owned();
        app.health = health;
        app.subdomain = true;
        app.sharing_level = SharingLevel::Authenticated;
    }
    for agent in plan.rows.workspace_agents.iter_mut().filter(|agent| agent.name != "slow") {
        agent.first_connected_at = Some(now.into());
        agent.last_connected_at = Some((now + Duration::from_secs(3600)).into());
    }
    plan.config.access_url = format!("http://coder.test:{port}").parse().unwrap();
    plan.config.app_hosts = Some(format!("*.test.coder.com:{port}").parse().unwrap());
    let mut branding = Branding::default();
    branding.name = Some("Acme Workspaces".parse().unwrap());
    branding.logo = Some(Logo::from_bytes(LOGO).unwrap());
    branding.contact = Some("mailto:help@acme.example".parse().unwrap());
    plan.config.branding = branding;
    // The page to sign in has both, a button that leads to a provider and the form for a token.
    let oidc = OidcConfig::new("http://127.0.0.1:1", "authd", &plan.config.access_url);
    plan.oidc = Some(oidc.unwrap());
    plan
}

/// A page under a name: how the browser gets there
struct Stop<'a> {
    name: &'static str,
    url: &'a str,
    /// What is typed into the form, if one is submitted
    typed: Option<&'a str>,
    shown: &'static str,
}

async fn go(browser: &Browser, stop: &Stop<'_>) {
    browser.open(stop.url).await;
    if let Some(token) = stop.typed {
        browser.type_into("#token", token).await;
        browser.click("main button").await;
    }
    browser.shows("http://", stop.shown).await;
}

/// What axe finds in each of the looks of the page at hand
async fn findings(browser: &Browser, axe: &str, name: &str) -> String {
    let mut found = String::new();
    for (look, scheme, width) in [
        ("light", "light", 1000),
        ("dark", "dark", 1000),
        ("narrow", "light", 375),
        ("narrow-dark", "dark", 375),
    ] {
        let preferred = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        browser.cdp("Emulation.setEmulatedMedia", json!({ "features": preferred })).await;
        let size =
            json!({ "width": width, "height": 700, "deviceScaleFactor": 1, "mobile": false });
        browser.cdp("Emulation.setDeviceMetricsOverride", size).await;
        let script = format!(
            "if (!window.axe) {{ {axe} }}
             const done = arguments[arguments.length - 1];
             axe.run({{ resultTypes: ['violations'] }}).then(
                 result => done([result.violations.map(v => v.id + ': ' + v.nodes.map(n =>
                     n.html + ' ' + n.failureSummary).join('; ')),
                     document.documentElement.scrollWidth - innerWidth]),
                 error => done([[String(error)], 0]));"
        );
        let result = browser.async_script(&script).await;
        for violation in result[0].as_array().unwrap() {
            let _ = writeln!(found, "{name} {look}: {violation}");
        }
        if result[1].as_i64().unwrap() > 0 {
            let _ = writeln!(found, "{name} {look}: wider than the window by {}", result[1]);
        }
        browser.save(&format!("{name}-{look}")).await;
    }
    browser.cdp("Emulation.clearDeviceMetricsOverride", json!({})).await;
    found
}

/// Borders of what can be operated, and text, differ enough from what is around them
const CONTRAST: &str = "
    const lum = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => { x /= 255;
        return x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4; });
        return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
    const ratio = (a, b) => { const [x, y] = [lum(a), lum(b)].sort((p, q) => q - p);
        return (x + .05) / (y + .05); };
    const card = getComputedStyle(document.querySelector('main')).backgroundColor;
    return [...document.querySelectorAll('main input:not([type=hidden]), main .actions a')].map(e =>
        ratio(getComputedStyle(e).borderTopColor, card));";

async fn tour(world: &World, browser: &Browser, axe: &str, port: u16) -> String {
    let root = format!("http://coder.test:{port}");
    let host = |label: &str| format!("http://{label}.test.coder.com:{port}/");
    let (own, off) = (host("owner--agent--dev--alice"), host("owner--main--off--alice"));
    let (nothing, slow) = (host("nothing--agent--dev--alice"), host("slow-app--slow--dev--alice"));
    let login = format!("{root}/login?redirect=%2F%40alice%2Fdev%2Fapps%2Fowner%2F");
    let (home, unknown) = (format!("{root}/"), format!("{root}/nope"));
    let none = format!("{root}/?q=nothing");
    let unusable = format!("{root}/api/v2/applications/auth-redirect?redirect_uri=x");
    let stop = |name, url, typed, shown| Stop { name, url, typed, shown };
    let mut found = String::new();
    let wrong = "AAAAAAAAAA-BBBBBBBBBBBBBBBBBBBBBB";
    for stop in [
        stop("sign-in", &login, None, "Session token"),
        stop("wrong-token", &login, Some(wrong), "not valid"),
        stop("unknown", &unknown, None, "Page not found"),
        stop("offline", &off, None, "This workspace is stopped"),
        stop("unreachable", &login, Some(world.token("alice")), "does not answer"),
        stop("home", &home, None, "In your workspaces"),
        stop("home-empty", &none, None, "No app that you may open"),
        stop("unusable", &unusable, None, "This link does not work"),
        stop("own-host", &own, None, "does not answer"),
        stop("not-found", &nothing, None, "Sign in as another user"),
        stop("unavailable", &slow, None, "did not start"),
    ] {
        go(browser, &stop).await;
        found += &findings(browser, axe, stop.name).await;
        let contrasts = browser.script(CONTRAST).await;
        for contrast in contrasts.as_array().unwrap().iter().filter_map(Value::as_f64) {
            if contrast < 3.0 {
                let _ = writeln!(found, "{}: a border has a contrast of {contrast}", stop.name);
            }
        }
    }
    found
}

/// The pages of the audit, for a user who may read it
async fn audit(world: &World, browser: &Browser, axe: &str, port: u16) -> String {
    browser.cdp("Network.clearBrowserCookies", json!({})).await;
    // The visits of the tour are recorded.
    world.rows().await;
    let page = |query: &str| format!("http://coder.test:{port}/audit{query}");
    let (all, wrong, acts) = (page(""), page("?user=nobody&address=x"), page("?kind=acts"));
    let mut found = String::new();
    for (name, url, typed, shown) in [
        ("audit", &all, Some(world.token("root")), "Denied"),
        ("audit-error", &wrong, None, "It is not an IP address."),
        ("audit-acts", &acts, None, "Instance, token or proxy"),
    ] {
        go(browser, &Stop { name, url, typed, shown }).await;
        found += &findings(browser, axe, name).await;
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_violates_a_rule_of_accessibility() {
    let Some((axe, browser)) = checked_browser().await else { return };
    let port = free_port();
    let world = plan(port).serve().await;
    // Nothing listens where apps are.
    let nowhere = format!("127.0.0.1:{}", free_port());
    let _nginx = Nginx::start(&world, ("coder.test", port), &nowhere).await;
    let mut found = tour(&world, &browser, &axe, port).await;
    found += &audit(&world, &browser, &axe, port).await;
    browser.close().await;
    assert!(found.is_empty(), "{found}");
}
