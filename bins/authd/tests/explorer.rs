//! The audit explorer: its page, its files, and both in a real browser

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

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use testkit::net::Answer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::browser::{Browser, free_port};
use self::nginx::Nginx;
use self::world::{Plan, World, header, text};

/// What visitors may put into slugs, user agents and names of workspaces
const HOSTILE: [&str; 8] = [
    "<script>window.hacked=1</script>",
    "\"><img src=x onerror=window.hacked=1>",
    "'-alert(1)-'",
    "</td></tr></table><h1>x</h1>",
    "=HYPERLINK(\"http://evil\",\"x\")",
    "&lt;b&gt;",
    "javascript:alert(1)",
    "a\u{202e}b\u{7}\u{1b}[31m",
];

/// Carol is an auditor of the deployment, and Bob one of Alice's organization
fn plan() -> Plan {
    let mut plan = Plan::new();
    let (carol, bob) = (plan.people["carol"].id, plan.people["bob"].id);
    for user in plan.rows.users.iter_mut().filter(|user| user.id == carol) {
        user.rbac_roles = vec!["auditor".to_owned()];
    }
    for member in plan.rows.organization_members.iter_mut().filter(|of| of.user_id == bob) {
        member.roles = vec!["organization-auditor".to_owned()];
    }
    plan
}

/// Adds a visit for each minute from `first` to `last`; every fifth is denied
///
/// Those of even minutes are Alice's, in her workspace `dev`.
async fn fill(world: &World, first: u32, last: u32) {
    let (alice, workspace) = (world.people["alice"].id, world.workspace);
    world
        .database
        .sql(&format!(
            "INSERT INTO authd_audit_log (id, session_id, time, user_id, organization_id,
                                          workspace_id, ip, user_agent, resource_type, resource_id,
                                          resource_target, action, status_code, request_id, decision,
                                          reason, additional_fields)
             SELECT md5(n::text)::uuid, md5(n::text)::uuid, '2026-11-21Z'::timestamptz + n * interval '1 min',
                    CASE n % 2 WHEN 0 THEN '{alice}' ELSE '00000000-0000-0000-0000-000000000000' END::uuid,
                    w.organization_id, w.id, '192.0.2.1'::inet + n % 3, 'Mozilla/5.0 ' || n,
                    'workspace_app', gen_random_uuid(), 'app-' || n % 4, 'open',
                    CASE n % 5 WHEN 0 THEN 404 ELSE 200 END, gen_random_uuid(),
                    CASE n % 5 WHEN 0 THEN 'deny' ELSE 'allow' END::authd_audit_decision,
                    CASE n % 5 WHEN 0 THEN 'not_shared' ELSE '' END,
                    '{{\"workspace_name\": \"dev\", \"workspace_owner\": \"alice\"}}'
             FROM generate_series({first}, {last}) n, workspaces w WHERE w.id = '{workspace}'"
        ))
        .await;
}

/// Adds a visit whose texts are all `text`
async fn add_hostile(world: &World, text: &str) {
    let quoted = format!("'{}'", text.replace('\'', "''"));
    world
        .database
        .sql(&format!(
            "INSERT INTO authd_audit_log (id, session_id, time, user_id, organization_id, user_agent,
                                          resource_type, resource_id, resource_target, action,
                                          status_code, request_id, decision, reason,
                                          additional_fields)
             SELECT id, id, '2026-11-20Z', gen_random_uuid(), id, {quoted}, 'workspace_app', id,
                    {quoted}, 'open', 404, id, 'deny', {quoted},
                    jsonb_build_object('workspace_name', {quoted}, 'workspace_owner', {quoted})
             FROM (SELECT gen_random_uuid() AS id) row"
        ))
        .await;
}

/// Opens a page as a person in a browser does
async fn get(world: &World, who: &str, path: &str) -> Answer {
    let mut headers = vec![("accept", "text/html")];
    if !who.is_empty() {
        headers.push(("coder-session-token", world.token(who)));
    }
    world.send("GET", path, &headers, "").await
}

fn rows(html: &str) -> usize {
    let table = html.split_once("<table class=\"log\">").map_or("", |(_, table)| table);
    table.split("</table>").next().unwrap().matches("<tr").count().saturating_sub(1)
}

#[tokio::test]
async fn a_page_costs_one_statement_and_one_for_its_plot() {
    let world = plan().serve().await;
    fill(&world, 1, 120).await;
    get(&world, "carol", "/audit").await;
    // One more finds the session of the request.
    for (path, statements, found) in [
        ("/audit", 3, 50),
        ("/audit?decision=deny&app=app-0&address=192.0.2.1", 3, 2),
        ("/audit?user=alice", 4, 50),
        ("/audit?user=ALICE&workspace=alice/dev&reason=not_shared", 4, 12),
        ("/audit?user=-&from=2026-11-21T00:00&to=2026-11-21T00:20", 3, 10),
        ("/audit?kind=acts", 2, 0),
        // Nothing is searched.
        ("/audit?from=yesterday", 1, 0),
    ] {
        let (answer, counted) = world.counted(get(&world, "carol", path)).await;
        let html = text(&answer);
        assert_eq!((counted, rows(&html)), (statements, found), "{path}: {html}");
    }
    // Pages follow each other, and only the first has a plot.
    let (mut path, mut seen) = ("/audit?workspace=alice/dev".to_owned(), 0);
    loop {
        let html = text(&get(&world, "carol", &path).await);
        assert_eq!(html.contains("<svg"), seen == 0, "{path}");
        seen += rows(&html);
        let Some((link, _)) = html.split_once("\" rel=\"next\"") else { break };
        path = link.rsplit_once("href=\"").unwrap().1.replace("&amp;", "&");
        assert!(path.starts_with("/audit?workspace=alice%2Fdev&after="), "{path}");
    }
    assert_eq!(seen, 120);
    let first = text(&get(&world, "carol", "/audit").await);
    for part in
        [">alice<", "alice/dev", "not signed in", "2026-11-21 02:00:00", "120 visits", "24 denied"]
    {
        assert!(first.contains(part), "{part} in {first}");
    }
}

#[tokio::test]
async fn only_readers_of_the_log_see_any_of_it() {
    let world = plan().serve().await;
    fill(&world, 1, 3).await;
    for path in ["/audit", "/audit?user=alice", "/audit/export.csv", "/audit/export.jsonl"] {
        for (who, status) in [("alice", 403), ("carol", 200), ("root", 200), ("bob", 200)] {
            let answer = get(&world, who, path).await;
            assert_eq!(answer.status, status, "{who} {path}: {}", text(&answer));
            assert_eq!(text(&answer).contains("app-2"), status == 200, "{who} {path}");
        }
        let scoped = [("coder-session-token", world.scoped("root")), ("accept", "text/html")];
        let answer = world.send("GET", path, &scoped, "").await;
        assert_eq!(answer.status, 403, "a session for apps: {path}");
        let program = [("accept", "application/json")];
        assert_eq!(world.send("GET", path, &program, "").await.status, 401, "{path}");
    }
    let is_linked = async |who| text(&get(&world, who, "/").await).contains("href=\"/audit\"");
    assert!(!is_linked("alice").await && is_linked("bob").await && is_linked("carol").await);
    // Programs may send the session in the address.
    for name in ["coder_session_token", "access_token"] {
        let path = format!("/audit/export.csv?{name}={}", world.token("carol"));
        let answer = get(&world, "", &path).await;
        assert!(answer.status == 200 && text(&answer).contains("app-2"), "{name}");
    }
    let signed_out = get(&world, "", "/audit?decision=deny&user=a%26b").await;
    assert_eq!(signed_out.status, 303);
    let to = header(&signed_out, "location");
    assert!(to.starts_with("/login?redirect=%2Faudit%3Fdecision%3Ddeny"), "{to}");

    // An auditor of one organization sees that one alone.
    let other = world.database.sql("SELECT gen_random_uuid()").await.remove(0);
    world
        .database
        .sql(&format!(
            "UPDATE authd_audit_log SET organization_id = '{other}', resource_target = 'elsewhere'
             WHERE id = md5('2')::uuid"
        ))
        .await;
    let html = text(&get(&world, "bob", "/audit").await);
    assert_eq!((rows(&html), html.contains("elsewhere")), (2, false), "{html}");
    assert_eq!(rows(&text(&get(&world, "carol", "/audit").await)), 3);
    let path = format!("/audit?organization={other}");
    assert_eq!(get(&world, "bob", &path).await.status, 403);
    // Nor does such an auditor learn which names exist elsewhere.
    for query in ["user=root", "user=unheard", "workspace=root%2Fdev", "workspace=a%2Fb"] {
        let html = text(&get(&world, "bob", &format!("/audit?{query}")).await);
        let is_wrong = html.contains("aria-invalid=\"true\"");
        assert!(html.contains("Nothing matches") && !is_wrong, "{query}: {html}");
    }
    assert_eq!(rows(&text(&get(&world, "carol", &path).await)), 1);
    assert_eq!(get(&world, "bob", "/audit?kind=acts").await.status, 403);
    // Nor does a key of theirs that is limited to single objects open it.
    let (id, row) = (world.people["bob"].token.id(), format!("audit_log:{other}"));
    let limit = format!("UPDATE api_keys SET allow_list = '{{{row}}}' WHERE id = '{id}'");
    world.database.sql(&limit).await;
    assert_eq!(get(&world, "bob", "/audit").await.status, 403);
    assert!(!is_linked("bob").await);

    // On an app's host the path is the app's.
    let host = [("host", "owner--agent--dev--alice.test.coder.com"), ("accept", "text/html")];
    let answer = world.send("GET", "/audit", &host, "").await;
    assert!(!text(&answer).contains("Audit log") && answer.status != 200, "{}", answer.status);
}

#[tokio::test]
async fn an_error_is_beside_its_field() {
    let world = plan().serve().await;
    fill(&world, 1, 3).await;
    for (query, field) in [
        ("user=nobody", "user"),
        ("workspace=alice/none", "workspace"),
        ("workspace=dev", "workspace"),
        ("from=%22%3E%3Cscript%3E", "from"),
        ("address=1.2.3", "address"),
        ("decision=perhaps", "decision"),
        ("from=2026-11-22&to=2026-11-21", "to"),
        ("kind=acts&app=code", "app"),
        ("kind=other", "kind"),
        ("subject=i-1", "subject"),
        ("app=a&app=b", "app"),
    ] {
        let answer = get(&world, "carol", &format!("/audit?{query}")).await;
        let html = text(&answer);
        assert_eq!(answer.status, 400, "{query}");
        let described = format!("aria-invalid=\"true\" aria-describedby=\"{field}-error\"");
        assert!(html.contains(&described) && !html.contains("<script"), "{query}: {html}");
        assert_eq!(rows(&html), 0, "{query}");
        for file in ["csv", "jsonl"] {
            let answer = get(&world, "carol", &format!("/audit/export.{file}?{query}")).await;
            assert_eq!(answer.status, 400, "{file} {query}");
        }
    }
    for query in ["unknown=1", "limit=7", "after=x"] {
        let answer = get(&world, "carol", &format!("/audit?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
    }
}

#[tokio::test]
async fn what_visitors_made_up_is_text() {
    let world = plan().serve().await;
    for hostile in HOSTILE {
        add_hostile(&world, hostile).await;
    }
    let answer = get(&world, "carol", "/audit").await;
    let html = text(&answer);
    assert_eq!(rows(&html), HOSTILE.len(), "{html}");
    let table = html.split_once("<table class=\"log\">").unwrap().1;
    for raw in ["<script", "<img", "</table><h1>", "onerror=window.hacked=1>"] {
        let found = table.split("</tbody>").next().unwrap().contains(raw);
        assert!(!found, "{raw} in {table}");
    }
    assert!(!html.contains("href=\"javascript"), "{html}");
    assert!(!html.contains(['\u{202e}', '\u{7}', '\u{1b}']), "{html}");
    let policy = header(&answer, "content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    // Links lead to the rows with the same text.
    for hostile in HOSTILE {
        let query: String = form_urlencoded::byte_serialize(hostile.as_bytes()).collect();
        let path = format!("/audit?app={query}&reason={query}");
        assert_eq!(rows(&text(&get(&world, "carol", &path).await)), 1, "{hostile}");
    }
    let file = text(&get(&world, "carol", "/audit/export.csv").await);
    for start in ["\"=", "\"+", "\"-", "\"@", "\"\t"] {
        assert!(!file.contains(&format!(",{start}")), "{start} in {file}");
    }
    assert!(file.contains(",\"'=HYPERLINK(\"\"http://evil\"\",\"\"x\"\")\""), "{file}");
}

#[tokio::test]
async fn files_have_all_that_the_filter_finds() {
    let world = plan().serve().await;
    fill(&world, 1, 1_234).await;
    let file = get(&world, "carol", "/audit/export.csv").await;
    assert_eq!(header(&file, "content-type"), "text/csv; charset=utf-8; header=present");
    assert_eq!(header(&file, "content-disposition"), "attachment; filename=\"audit.csv\"");
    let lines: Vec<String> = text(&file).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 1 + 1_234);
    assert!(lines[0].starts_with("time,user,user_id,address,workspace"));
    assert!(lines[1].starts_with("\"2026-11-21T20:34:00.000000Z\",\"alice\""), "{}", lines[1]);
    let found = "/audit/export.jsonl?user=alice&decision=deny";
    let (file, statements) = world.counted(get(&world, "carol", found)).await;
    let lines: Vec<Value> =
        text(&file).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), statements), (123, 3));
    assert!(lines.iter().all(|line| line["username"] == "alice" && line["decision"] == "deny"));
    // Three pages of 500 rows.
    let (_, statements) = world.counted(get(&world, "carol", "/audit/export.jsonl")).await;
    assert_eq!(statements, 4);
    // The database goes away on the way: the file does not look complete.
    world.database.sql("ALTER TABLE authd_audit_log RENAME TO gone").await;
    let headers = [("coder-session-token".parse().unwrap(), world.token("carol"))];
    let url = format!("{}/audit/export.csv", world.url);
    let cut = world.client.send(hyper::Method::GET, &url, &headers, bytes::Bytes::new()).await;
    assert!(cut.is_err(), "{cut:?}");
}

/// Each export holds memory while its client reads
#[tokio::test]
async fn few_exports_are_sent_at_the_same_time() {
    let world = plan().serve().await;
    // More than fits between a server and a client that does not read.
    fill(&world, 1, 60_000).await;
    let address = world.url.strip_prefix("http://").unwrap();
    let request = format!(
        "GET /audit/export.jsonl HTTP/1.1\r\nHost: coder.test\r\nCoder-Session-Token: {}\r\n\r\n",
        world.token("carol")
    );
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        connection.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        slow.push(connection);
    }
    let refused = get(&world, "carol", "/audit/export.csv").await;
    assert_eq!((refused.status.as_u16(), header(&refused, "retry-after")), (503, "10"));
    drop(slow);
    for tries in 0.. {
        if get(&world, "carol", "/audit/export.csv?user=root").await.status == 200 {
            break;
        }
        assert!(tries < 500);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn sign_ins_are_listed_beside_visits() {
    let world = plan().serve().await;
    for n in 0..60 {
        let hostile = HOSTILE[n % HOSTILE.len()].replace('\'', "''");
        world
            .database
            .sql(&format!(
                "INSERT INTO authd_acts (id, time, kind, decision, reason, subject_type, subject, proof,
                                         ip, times)
                 VALUES (gen_random_uuid(), '2026-11-21Z'::timestamptz + {n} * interval '1 min',
                         'agent_sign_in', 'deny', 'no_agent', 'claimed_instance', '{hostile}', 'aws',
                         '192.0.2.7', 3)"
            ))
            .await;
    }
    let html = text(&get(&world, "carol", "/audit?kind=acts").await);
    assert_eq!(rows(&html), 50);
    for part in
        ["Agent sign-in", "not verified, aws", "no_agent", "rel=\"next\"", "Sign-ins and acts"]
    {
        assert!(html.contains(part), "{part} in {html}");
    }
    assert!(!html.contains("<script") && !html.contains("<svg"));
    assert!(!html.contains(['\u{202e}', '\u{7}', '\u{1b}']), "{html}");
    let of_one = "/audit?kind=agent_sign_in&subject=javascript%3Aalert%281%29&address=192.0.2.7";
    assert_eq!(rows(&text(&get(&world, "carol", of_one).await)), 7);
    assert_eq!(rows(&text(&get(&world, "carol", "/audit?kind=log_in").await)), 0);
    let file = text(&get(&world, "carol", "/audit/export.csv?kind=acts").await);
    assert_eq!(file.lines().count(), 61);
    assert!(file.contains("\"'=HYPERLINK("), "{file}");
    let file = text(&get(&world, "carol", "/audit/export.jsonl?kind=acts").await);
    assert!(file.lines().all(|line| line.contains("\"times\":3")), "{file}");
}

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
async fn an_auditor_filters_pages_and_exports_in_a_browser() {
    let Some(browser) = browser().await else { return };
    let port = free_port();
    let mut plan = plan();
    #[expect(clippy::disallowed_methods, reason = "the browser uses the system's clock")]
    let now = SystemTime::now();
    plan.now = now;
    plan.config.access_url = format!("http://coder.test:{port}").parse().unwrap();
    let world = plan.serve().await;
    fill(&world, 1, 240).await;
    for hostile in HOSTILE {
        add_hostile(&world, hostile).await;
    }
    let _nginx = Nginx::start(&world, ("coder.test", port), "127.0.0.1:9").await;
    let audit = format!("http://coder.test:{port}/audit");

    // A stranger signs in on the way.
    browser.open(&format!("{audit}?decision=deny")).await;
    browser.shows(&format!("http://coder.test:{port}/login?"), "Session token").await;
    browser.type_into("#token", world.token("carol")).await;
    browser.click("form[method=post] button:not(.plain)").await;
    browser.shows(&format!("{audit}?decision=deny"), "not_shared").await;
    browser.open(&audit).await;
    browser.shows(&audit, "248 visits").await;
    let found = browser
        .script(
            "return {
                rows: document.querySelectorAll('.log tbody tr').length,
                bars: document.querySelectorAll('.plot rect').length,
                title: document.querySelector('.plot title').textContent,
                numbers: document.querySelectorAll('.numbers tbody tr').length,
                scripts: document.scripts.length,
                // The policy allows the style.
                collapse: getComputedStyle(document.querySelector('.log')).borderCollapse,
                fill: getComputedStyle(document.querySelector('rect.denied')).fill,
                wide: document.documentElement.scrollWidth <= innerWidth,
            }",
        )
        .await;
    assert_eq!((&found["rows"], &found["scripts"]), (&50.into(), &0.into()), "{found}");
    assert_eq!((&found["collapse"], &found["wide"]), (&"collapse".into(), &true.into()), "{found}");
    assert_eq!(found["title"], "Visits over time");
    assert!(found["bars"].as_u64() > found["numbers"].as_u64(), "{found}");
    assert_ne!(found["fill"], "rgb(0, 0, 0)", "{found}");
    pictures(&browser, "audit").await;

    // Filters by typing, and by a click on a value.
    browser.type_into("#user", "alice").await;
    browser.click(".filter button").await;
    browser.shows(&format!("{audit}?"), "120 visits").await;
    browser.click(".log td[data-label=Decision] a.bad").await;
    browser.shows(&audit, "24 visits").await;
    assert!(browser.url().await.contains("decision=deny"), "{}", browser.url().await);
    browser.open(&format!("{audit}?user=nobody")).await;
    browser.shows(&audit, "No user has this name.").await;
    pictures(&browser, "audit-error").await;

    // Pages.
    browser.open(&format!("{audit}?workspace=alice/dev")).await;
    browser.shows(&audit, "240 visits").await;
    browser.click("a[rel=next]").await;
    browser.shows(&format!("{audit}?workspace=alice%2Fdev&after="), "Newest").await;
    browser.click(".log tbody tr:first-child a").await;
    browser.shows(&audit, "All that is recorded").await;
    pictures(&browser, "audit-session").await;

    // What visitors made up does nothing.
    browser.open(&format!("{audit}?to=2026-11-21")).await;
    browser.shows(&audit, "<script>window.hacked=1</script>").await;
    let hacked = browser
        .script("return [window.hacked, document.scripts.length, document.images.length]")
        .await;
    assert_eq!(hacked, json!([null, 0, 0]));
    pictures(&browser, "audit-hostile").await;
    browser.open(&format!("{audit}?kind=acts")).await;
    browser.shows(&audit, "Nothing matches.").await;
    pictures(&browser, "audit-acts").await;

    // A file is saved.
    let folder = std::env::temp_dir().join(format!("authd-audit-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&folder).unwrap();
    let allow = json!({ "behavior": "allow", "downloadPath": folder });
    browser.cdp("Browser.setDownloadBehavior", allow).await;
    browser.open(&format!("{audit}?user=alice")).await;
    browser.shows(&audit, "Export all").await;
    browser.click("a[download][href*=csv]").await;
    let mut saved = String::new();
    for _ in 0..400 {
        saved = std::fs::read_to_string(folder.join("audit.csv")).unwrap_or_default();
        if !saved.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(saved.lines().count(), 121, "{saved}");
    std::fs::remove_dir_all(&folder).unwrap();
    browser.close().await;
}

/// Pictures at the usual size and on a phone, each in light and dark
async fn pictures(browser: &Browser, name: &str) {
    for (suffix, width, height) in [("", 1_280, 900), ("-phone", 375, 812)] {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500,
        });
        browser.cdp("Emulation.setDeviceMetricsOverride", size).await;
        let fits =
            browser.script("return document.documentElement.scrollWidth <= innerWidth").await;
        assert_eq!(fits, true, "{name} is wider than {width}");
        browser.picture(&format!("{name}{suffix}")).await;
    }
    browser.cdp("Emulation.clearDeviceMetricsOverride", json!({})).await;
}
