//! What a person with a browser sees: a page for each answer, and the apps that can be opened

use std::collections::BTreeSet;
use std::time::Duration;

use authd_http::Branding;
use serde_json::Value;
use store::fleet::{SharingLevel, Transition};
use testkit::net::Answer;

use crate::world::{Plan, World, header, location, text};

const PAGE: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const EVIL: &str = "https://evil.example";

/// The request of a person who navigates, and the same of a program
async fn both(
    world: &World,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: &str,
) -> (Answer, Answer) {
    let person = [headers, &[("accept", PAGE)]].concat();
    let program = [headers, &[("accept", "application/json")]].concat();
    let page = world.send(method, path, &person, body).await;
    (page, world.send(method, path, &program, body).await)
}

/// What is wrong with an answer that a person gets in place of what was asked for
fn fault(page: &Answer) -> Option<String> {
    let html = text(page);
    let id = header(page, "x-request-id");
    let has = |part: &str| html.contains(part);
    let policy = header(page, "content-security-policy");
    let wrong = if !header(page, "content-type").starts_with("text/html") {
        "not a page"
    } else if !has("<h1>") || !has("<html lang=\"en\">") {
        "without a heading or a language"
    } else if has("X-Request-Id") || has("{\"") {
        "in the words of the code"
    } else if !has(&format!("Reference <code>{id}</code>")) || !has(" UTC</time>") {
        "without a reference"
    } else if !policy.starts_with("default-src 'none'") {
        "without a policy"
    } else if page.status == 503 && header(page, "retry-after").is_empty() {
        "without Retry-After"
    } else {
        return None;
    };
    Some(format!("{wrong}: {html}"))
}

/// Every route by every method, for every kind of visitor, while all is well and while it is not
#[tokio::test]
async fn every_answer_that_a_person_does_not_ask_for_is_a_page() {
    let mut broken = Plan::new();
    broken.limits.body = 4_096;
    let mut busy = Plan::new();
    busy.limits.requests_in_flight = 0;
    busy.limits.longest_wait = Duration::ZERO;
    let broken = broken.serve().await;
    broken.database.sql("ALTER TABLE api_keys RENAME TO away").await;
    broken.database.sql("ALTER TABLE users RENAME TO gone").await;
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for (state, world) in
        [("well", World::new().await), ("broken", broken), ("busy", busy.serve().await)]
    {
        let host = "owner--agent--dev--alice.test.coder.com";
        let visit = [("x-forwarded-host", host), ("x-forwarded-uri", "/a")];
        let unknown = ["/nope", "/.env", "/login/", "/api/v2/nope", "/%2e%2e"];
        let unknown = unknown.map(|path| (path, "GET, POST".to_owned()));
        for (path, _) in authd_http::routes().chain(unknown) {
            for method in ["GET", "POST", "PUT", "HEAD"] {
                for actor in ["", "alice", "sue"] {
                    let session = (
                        "coder-session-token",
                        if actor.is_empty() { "x" } else { world.token(actor) },
                    );
                    let headers = match path.starts_with("/api/v2/forward-auth") {
                        true => [&visit[..], &[session]].concat(),
                        false => vec![session],
                    };
                    let (page, json) = both(&world, (method, path), &headers, "").await;
                    let is_checked = path.ends_with("/nginx");
                    let is_sign_in = path.ends_with("-instance-identity");
                    let is_machine =
                        method == "POST" && (is_sign_in || path.ends_with("/challenge"));
                    let is_program = is_checked || is_machine;
                    if is_machine && serde_json::from_slice::<Value>(&page.body).is_err() {
                        wrong.push(format!(
                            "{state}: {path}: a page for a machine: {}",
                            text(&page)
                        ));
                    }
                    if page.status.as_u16() < 400 || method == "HEAD" || is_program {
                        continue;
                    }
                    let place = format!("{state}: {method} {path} as `{actor}`: {}", page.status);
                    wrong.extend(fault(&page).map(|fault| format!("{place}: {fault}")));
                    seen.insert(page.status.as_u16());
                    if json.status == page.status && !path.contains("/failed") {
                        let body = serde_json::from_slice::<Value>(&json.body);
                        if body.is_err() && !matches!(page.status.as_u16(), 401 | 502 | 504) {
                            wrong.push(format!("{place}: not JSON for a program: {}", text(&json)));
                        }
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of:\n{}", wrong.len(), wrong[..wrong.len().min(12)].join("\n"));
    for status in [400, 401, 403, 404, 405, 502, 503, 504] {
        assert!(seen.contains(&status), "{status} was not seen: {seen:?}");
    }
}

/// The answers to a browser and to a program about the same problem
#[tokio::test]
async fn a_person_gets_words_and_a_program_the_documented_shape() {
    let mut plan = Plan::new();
    plan.limits.body = 4_096;
    let world = plan.serve().await;
    let cookie = |name: &str| format!("coder_session_token={}", world.token(name));
    let (alice, sue) = (cookie("alice"), cookie("sue"));
    let (alice, sue) = (("cookie", &*alice), ("cookie", &*sue));
    let form = ("content-type", "application/x-www-form-urlencoded");
    let redirect = "/api/v2/applications/auth-redirect";
    let elsewhere = format!("{redirect}?redirect_uri=https%3A%2F%2Fevil.example%2F");
    let large = "x".repeat(5_000);
    for (method, path, headers, body, status, title, message) in [
        ("GET", "/nope", vec![], "", 404, "Page not found", "Route not found."),
        (
            "GET",
            "/logout",
            vec![],
            "",
            405,
            "This page cannot be opened like this",
            "Method not allowed.",
        ),
        (
            "GET",
            "/",
            vec![sue],
            "",
            401,
            "Your account is suspended",
            "User is not active (status = \"suspended\").",
        ),
        (
            "GET",
            redirect,
            vec![sue],
            "",
            401,
            "Your account is suspended",
            "User is not active (status = \"suspended\").",
        ),
        (
            "GET",
            redirect,
            vec![alice],
            "",
            400,
            "This link does not work",
            "Missing redirect_uri query parameter.",
        ),
        (
            "GET",
            &elsewhere,
            vec![alice],
            "",
            400,
            "This link does not work",
            "Invalid redirect_uri.",
        ),
        (
            "POST",
            "/login",
            vec![form, ("origin", EVIL)],
            "token=x",
            403,
            "This request came from another site",
            "Forbidden.",
        ),
        (
            "POST",
            "/logout",
            vec![alice, ("origin", EVIL)],
            "",
            403,
            "This request came from another site",
            "Forbidden.",
        ),
        (
            "POST",
            "/login",
            vec![form],
            &large,
            413,
            "The request body is too large.",
            "The request body is too large.",
        ),
        (
            "GET",
            "/api/v2/audit",
            vec![],
            "",
            401,
            "You are signed out",
            "You are signed out or your session",
        ),
        ("GET", "/api/v2/audit", vec![alice], "", 403, "You may not do this", "Forbidden."),
    ] {
        let (page, json) = both(&world, (method, path), &headers, body).await;
        let place = format!("{method} {path}");
        assert_eq!((page.status.as_u16(), json.status.as_u16()), (status, status), "{place}");
        assert_eq!(fault(&page), None, "{place}");
        assert!(text(&page).contains(&format!("<h1>{title}</h1>")), "{place}: {}", text(&page));
        let json: Value = serde_json::from_slice(&json.body).unwrap();
        assert!(json["message"].as_str().unwrap().starts_with(message), "{place}: {json}");
        let names: Vec<_> = json.as_object().unwrap().keys().collect();
        assert_eq!(names, ["message", "detail"], "{place}");
    }
    // A visitor without a session is led to sign in, and back.
    let (page, _) = both(&world, ("GET", "/api/v2/audit?limit=1"), &[], "").await;
    let link = "<a href=\"/login?redirect=%2Fapi%2Fv2%2Faudit%3Flimit%3D1\">Sign in</a>";
    assert!(text(&page).contains(link), "{}", text(&page));
}

/// The links that lead a refused visitor further, by host and by path
#[tokio::test]
async fn a_refused_visitor_is_led_further() {
    let host = "owner--agent--dev--alice.test.coder.com";
    let off = "owner--main--off--alice.test.coder.com";
    let path = "/@alice/dev/apps/owner/x?y";
    for has_dashboard in [false, true] {
        let mut plan = Plan::new();
        plan.config.has_dashboard = has_dashboard;
        let world = plan.serve().await;
        let visit = async |host: &str, uri: &str, name: &str| {
            let token = if name.is_empty() { "" } else { world.token(name) };
            text(&world.visit(host, uri, &[("coder-session-token", token)]).await)
        };
        let another = "Sign in as another user";
        let by_host = visit(host, "/x?y", "bob").await;
        let by_path = visit("coder.test", path, "bob").await;
        for page in [&by_host, &by_path] {
            assert!(page.contains("You are signed in as <strong>bob</strong>."), "{page}");
            assert_eq!(page.contains(another), !has_dashboard, "{page}");
            assert_eq!(page.contains("sign out of the site first"), has_dashboard, "{page}");
        }
        let back = "%2F%40alice%2Fdev%2Fapps%2Fowner%2Fx%3Fy";
        let link = format!("<a href=\"https://coder.test/login?redirect={back}\">{another}</a>");
        assert_eq!(by_path.contains(&link), !has_dashboard, "{by_path}");

        let start = "<a href=\"https://coder.test/@alice/off\">Start the workspace</a>";
        for (name, may_start) in [("alice", true), ("root", true), ("bob", false), ("", false)] {
            let page = visit(off, "/", name).await;
            assert!(page.contains("<h1>This workspace is stopped</h1>"), "{page}");
            assert_eq!(page.contains(start), has_dashboard && may_start, "{name}: {page}");
        }
        if has_dashboard {
            continue;
        }
        // The link, followed by Bob, who then signs in as Alice.
        let href = by_host.split("href=\"").find(|rest| rest.contains(another)).unwrap();
        let href = href.split('"').next().unwrap().replace("&amp;", "&");
        let form = href.strip_prefix("https://coder.test").unwrap();
        let shown = world.send("GET", form, &[("accept", PAGE)], "").await;
        assert!(text(&shown).contains("<strong>owner</strong> at <strong>owner--agent"));
        let back = form.split_once("redirect=").unwrap().1;
        let body = format!("token={}&redirect={back}", world.token("alice"));
        let signed = world.send("POST", "/login", &[("accept", PAGE)], &body).await;
        let session = [("coder-session-token", world.token("alice"))];
        let leading = world.send("GET", header(&signed, "location"), &session, "").await;
        let arriving = location(&leading);
        assert_eq!((arriving.host(), arriving.path()), (host, "/x"), "{arriving}");
        assert!(arriving.query().unwrap().starts_with("y&coder_application_connect"));
    }
}

/// What the page to sign in says before and after a mistake
#[tokio::test]
async fn the_page_to_sign_in_says_which_app_waits_and_what_is_wrong() {
    let mut plan = Plan::new();
    let mut branding = Branding::default();
    branding.name = Some("Acme <Labs>".parse().unwrap());
    branding.contact = Some("mailto:help@acme.example".parse().unwrap());
    branding.logo = Some(authd_http::Logo::at("https://cdn.acme.example/logo.svg").unwrap());
    plan.config.branding = branding;
    let (bob, now) = (plan.people["bob"].token.id().to_owned(), plan.now);
    let bob = plan.rows.api_keys.iter_mut().find(|key| key.id == bob).unwrap();
    bob.expires_at = (now - Duration::from_secs(1)).into();
    let world = plan.serve().await;
    let form = async |back: &str| {
        let back = form_urlencoded::byte_serialize(back.as_bytes()).collect::<String>();
        world.send("GET", &format!("/login?redirect={back}"), &[("accept", PAGE)], "").await
    };
    let redirect = "/api/v2/applications/auth-redirect?redirect_uri=";
    for (back, app) in [
        ("/@alice/dev/apps/owner/x", Some("<strong>owner</strong> at <strong>coder.test</strong>")),
        (
            &format!("{redirect}https%3A%2F%2Fa--dev--alice.test.coder.com%2F"),
            Some("<strong>a</strong> at <strong>a--dev--alice.test.coder.com</strong>"),
        ),
        (
            &format!("{redirect}https%3A%2F%2Fsydney.coder.com%2F%40a%2Fb%2Fapps%2Fc%2F"),
            Some("<strong>c</strong> at <strong>sydney.coder.com</strong>"),
        ),
        (&format!("{redirect}https%3A%2F%2Fa--b--c.evil.example%2F"), None),
        (&format!("{redirect}https%3A%2F%2Fevil.example%2F%40a%2Fb%2Fapps%2Fc%2F"), None),
        ("/@a/b/apps/<script>/", None),
        ("https://evil.example/@a/b/apps/c/", None),
        ("", None),
    ] {
        let page = form(back).await;
        let html = text(&page);
        assert_eq!(html.contains("to open <strong>"), app.is_some(), "{back}: {html}");
        assert!(html.contains(app.unwrap_or_default()), "{back}: {html}");
        assert!(!html.contains("<script"), "{back}: {html}");
        assert!(html.contains("Acme &lt;Labs&gt;</a>") && html.contains("mailto:help@acme"));
        let policy = header(&page, "content-security-policy");
        assert!(policy.contains("img-src https://cdn.acme.example/logo.svg; "), "{policy}");
    }
    let unknown = "AAAAAAAAAA-BBBBBBBBBBBBBBBBBBBBBB";
    for (token, said) in [
        (unknown, "This token is not valid, or no longer."),
        ("x", "This is not a session token."),
        (world.token("bob"), "This token has expired."),
        (world.token("sue"), "Your account is suspended."),
        (world.scoped("alice"), "its scope is application_connect"),
        // The secret of another: nothing is said about the key.
        (&format!("{}-{}", &world.token("sue")[..10], "x".repeat(22)), "not valid, or no longer."),
    ] {
        let body = format!("token={token}&redirect=%2Fx");
        let refused = world.send("POST", "/login", &[("accept", PAGE)], &body).await;
        let html = text(&refused);
        assert_eq!(refused.status, 401);
        assert!(html.contains("role=\"alert\">") && html.contains(said), "{token}: {html}");
        assert!(html.contains("aria-describedby=\"error about-token\" aria-invalid=\"true\""));
        assert!(
            html.contains("name=\"redirect\" value=\"/x\"")
                && !html.contains(&format!("\"{token}\""))
        );
    }
}

/// The addresses of apps that a start page links
fn linked(html: &str) -> BTreeSet<String> {
    let links = html.split("<h3><a href=\"").skip(1);
    links.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

async fn home(world: &World, name: &str, query: &str) -> String {
    let headers = [("coder-session-token", world.token(name)), ("accept", PAGE)];
    let page = world.send("GET", &format!("/{query}"), &headers, "").await;
    assert_eq!(page.status, 200, "{}", text(&page));
    text(&page)
}

/// The list has an app if and only if a visit to its address opens it
#[tokio::test]
async fn the_start_page_lists_what_a_visit_opens() {
    for (by_path, own_hosts) in [(true, true), (true, false), (false, true)] {
        let mut plan = Plan::new();
        let hidden = plan.rows.app(plan.agent, "hidden");
        hidden.hidden = true;
        hidden.sharing_level = SharingLevel::Public;
        for app in &mut plan.rows.workspace_apps {
            app.subdomain = own_hosts;
        }
        plan.config.disable_path_apps = !by_path;
        // The strict rules, under which a path app of another does not open.
        plan.config.rules = plan.config.rules.allow_path_app_sharing(false);
        plan.config.rules = plan.config.rules.allow_path_app_site_owner_access(false);
        let slugs: Vec<_> = plan.rows.workspace_apps.iter().map(|app| app.slug.clone()).collect();
        let world = plan.serve().await;
        for name in ["alice", "bob", "carol", "root"] {
            let found = linked(&home(&world, name, "").await);
            let mut openable = BTreeSet::new();
            for (workspace, agent) in [("dev", "agent"), ("dev", "slow"), ("asleep", "main")] {
                for slug in &slugs {
                    let host = format!("{slug}--{agent}--{workspace}--alice.test.coder.com");
                    let path = format!("/@alice/{workspace}.{agent}/apps/{slug}/");
                    let token = [("coder-session-token", world.token(name))];
                    let opens = async |host: &str, path: &str| {
                        let answer = world.visit(host, path, &token).await.status.as_u16();
                        matches!(answer, 200 | 307 | 502) && slug != "hidden"
                    };
                    let exists = (workspace, agent) != ("dev", "slow") || slug == "slow-app";
                    let (on_host, at_path) =
                        (opens(&host, "/").await, opens("coder.test", &path).await);
                    // An agent in the host of an app does not count.
                    let on_host = on_host && exists && (agent == "slow" || slug != "slow-app");
                    if slug == "command" {
                        continue;
                    }
                    if on_host && (own_hosts || !at_path) {
                        openable.insert(format!("https://{host}/"));
                    } else if at_path {
                        openable.insert(path);
                    }
                }
            }
            assert_eq!(found, openable, "{name}, {by_path}, {own_hosts}");
            assert_eq!(found.is_empty(), name != "alice" && openable.is_empty());
        }
        let own = home(&world, "alice", "").await;
        assert!(own.contains("Stopped</span>") && own.contains(">off<"), "{own}");
        assert!(own.contains("Starting</span>") && own.contains("Did not start</span>"), "{own}");
        assert!(!own.contains("asleep") && !own.contains("hidden"), "{own}");
        assert!(!home(&world, "bob", "").await.contains(">off<"));
    }
}

#[tokio::test]
async fn the_list_is_searched_and_has_pages() {
    let mut plan = Plan::new();
    let bob = plan.people["bob"].id;
    for n in 0..60 {
        let workspace = plan.rows.workspace(bob, &format!("w{n:02}"));
        let build = plan.rows.build(workspace, Transition::Start);
        let agent = plan.rows.agent(build.resource, "main", &format!("i-w{n}")).id;
        let app = plan.rows.app(agent, "code");
        app.display_name = format!("Editor {n}");
        app.sharing_level = SharingLevel::Authenticated;
        app.subdomain = true;
    }
    let world = plan.serve().await;
    for name in ["bob", "carol"] {
        let (mut seen, mut next, mut pages) = (Vec::new(), Some(String::new()), 0);
        while let Some(query) = next {
            let (html, statements) = world.counted(home(&world, name, &query)).await;
            assert_eq!(statements, 2, "a session and a page of the list");
            let rows = html
                .split("<h3><a href=\"")
                .skip(1)
                .map(|rest| rest.split('"').next().unwrap().to_owned());
            seen.extend(rows.filter(|link| link.contains("bob")));
            let link = html.split("<a href=\"/").find(|rest| rest.contains("rel=\"next\""));
            next = link.map(|rest| rest.split('"').next().unwrap().replace("&amp;", "&"));
            pages += 1;
        }
        let expected: Vec<_> =
            (0..60).map(|n| format!("https://code--w{n:02}--bob.test.coder.com/")).collect();
        assert_eq!((seen, pages), (expected, 3), "{name}");
    }
    for (query, found) in [
        ("?q=Editor+7", 1),
        ("?q=W5", 10),
        ("?q=nothing", 0),
        ("?q=%00", 25),
        ("?q=%25", 0),
        ("?after=bob/w57", 5),
        ("?after=%00/%00", 3),
        ("?after=x", 25),
    ] {
        assert_eq!(linked(&home(&world, "bob", query).await).len(), found, "{query}");
    }
    let empty = home(&world, "bob", "?q=%3Cscript%3E").await;
    assert!(empty.contains("No app that you may open matches “&lt;script&gt;”."), "{empty}");

    // Without the list the page still says who is signed in.
    world.database.sql("ALTER TABLE workspace_apps RENAME TO away").await;
    let page = home(&world, "bob", "").await;
    assert!(page.contains("role=\"alert\">The list cannot be shown"), "{page}");
    assert!(page.contains("<span>bob</span>"), "{page}");
}
