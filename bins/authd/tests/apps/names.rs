//! Names in hosts and in paths: their case, and how they are encoded

use hyper::StatusCode;
use serde_json::json;
use store::fleet::SharingLevel;

use crate::world::{Plan, claims_of, header, set_cookies, text};

/// `Dev` of Alice with the agents `Main` and `side`, and names that templates should not have
fn plan() -> Plan {
    let mut plan = Plan::new();
    let alice = plan.people["alice"].id;
    let workspace = plan.rows.workspace(alice, "Cased");
    let build = plan.rows.build(workspace, store::fleet::Transition::Start);
    let main = plan.rows.agent(build.resource, "Main", "i-7").id;
    let side = plan.rows.agent(build.resource, "side", "i-8").id;
    for (agent, slug) in [
        (main, "Code"),
        (main, "docs"),
        (side, "DOCS"),
        (main, "Code Server"),
        (main, "caf\u{e9}"),
        (main, "a+b"),
        (main, "100%25"),
    ] {
        plan.rows.app(agent, slug);
    }
    for row in &mut plan.rows.workspace_agents {
        row.first_connected_at = Some(plan.now.into());
        row.last_connected_at = Some(plan.now.into());
    }
    for (agent_name, port) in [("MAIN", 8443), ("SIDE", 8444), ("other", 8445)] {
        plan.rows.workspace_agent_port_share.push(store::fleet::WorkspaceAgentPortShare {
            workspace_id: workspace,
            agent_name: agent_name.to_owned(),
            port,
            share_level: SharingLevel::Public,
            protocol: Default::default(),
        });
    }
    plan
}

#[tokio::test]
async fn names_that_are_part_of_a_host_have_no_case() {
    let world = plan().serve().await;
    let session = [("coder-session-token", world.token("alice"))];
    // The host, and the slug or the port of the row of the log
    for (label, row) in [
        ("code--cased--alice", Some("Code")),
        ("Code--Main--Cased--Alice", Some("Code")),
        ("CODE--MAIN--CASED--ALICE", Some("Code")),
        ("docs--main--cased--alice", Some("docs")),
        ("DOCS--side--cased--alice", Some("DOCS")),
        ("docs--side--cased--alice", Some("DOCS")),
        ("docs--cased--alice", Some("docs")),
        ("8443--main--cased--alice", Some("8443")),
        ("8443S--Main--Cased--Alice", Some("8443s")),
        ("9090S--SIDE--cased--ALICE", Some("9090s")),
        ("909S--side--cased--alice", Some("909s")),
        ("docs--other--cased--alice", None),
        ("dogs--cased--alice", None),
    ] {
        for host in [format!("{label}.test.coder.com"), format!("{label}.TEST.Coder.com.:443")] {
            let answer = world.visit(&host, "/", &session).await;
            let status = answer.status.as_u16();
            assert_eq!(status, if row.is_some() { 200 } else { 404 }, "{host}: {}", text(&answer));
        }
        let Some(expected) = row else { continue };
        let rows = world.rows().await;
        let fields = |row: &crate::world::Row| row.0["fields"]["slug_or_port"].clone();
        let found =
            rows.iter().any(|row| fields(row) == json!(expected) || row.text("target") == expected);
        assert!(found, "{label}: {rows:?}");
    }

    // A share has the name of the agent as the control plane stored it.
    for (label, status) in [
        ("8443--main--cased--alice", 200),
        ("8443s--MAIN--cased--alice", 200),
        ("8444S--Side--cased--alice", 200),
        ("8443--side--cased--alice", 303),
        ("8445--main--cased--alice", 303),
    ] {
        let answer = world.visit(&format!("{label}.test.coder.com"), "/", &[]).await;
        assert_eq!(answer.status.as_u16(), status, "{label}");
    }
}

/// The names in a path as the visitor writes them, and the slug that is signed
#[tokio::test]
async fn names_in_a_path_are_what_they_decode_to() {
    let world = plan().serve().await;
    let session = [("coder-session-token", world.token("alice"))];
    let mut agents = std::collections::BTreeSet::new();
    for (folder, slug) in [
        ("/@alice/cased/apps/Code%20Server", "Code Server"),
        ("/@alice/cased/apps/code%20server", "code server"),
        ("/@ALICE/CASED.MAIN/apps/CODE", "CODE"),
        ("/@alice/cased%2EMain/apps/docs", "docs"),
        ("/@alice/cased%2emain/apps/%64ocs", "docs"),
        ("/%40alice/cased/apps/docs", "docs"),
        ("/@%61lice/%63ased/apps/docs", "docs"),
        ("/%40%61lice/cased.%4Dain/apps/d%6Fcs", "docs"),
        ("/@alice/cased/apps/caf%C3%A9", "caf\u{e9}"),
        ("/@alice/cased/apps/caf%c3%a9", "caf\u{e9}"),
        ("/@alice/cased/apps/a+b", "a+b"),
        ("/@alice/cased/apps/a%2Bb", "a+b"),
        ("/@alice/cased/apps/100%2525", "100%25"),
    ] {
        let uri = format!("{folder}/x%2Fy%20z?q=%41");
        let answer = world.visit("coder.test", &uri, &session).await;
        assert_eq!(answer.status, StatusCode::OK, "{uri}: {}", text(&answer));
        // The app gets the rest of the path as it was written, and the address stays the visitor's.
        assert_eq!(header(&answer, "x-authd-uri"), "/x%2Fy%20z?q=%41", "{uri}");
        assert_eq!(header(&answer, "x-authd-folder"), folder, "{uri}");
        agents.insert(header(&answer, "x-authd-agent-id").to_owned());
        // A browser sends the cookie back only below the path that it wrote itself.
        let [(name, token, line)] = &set_cookies(&answer)[..] else { panic!("{uri}") };
        assert!(line.contains(&format!("; Path={folder}/;")), "{uri}: {line}");
        let request = &claims_of(token)["request"];
        assert_eq!(request["app_slug_or_port"], slug, "{uri}");
        assert_eq!(request["base_path"], format!("{folder}/"), "{uri}");

        let cookie = format!("{name}={token}");
        let carried = [("cookie", &*cookie)];
        let (again, statements) = world.counted(world.visit("coder.test", &uri, &carried)).await;
        assert_eq!((again.status, statements), (StatusCode::OK, 0), "{uri}");
        // Another spelling of the path has a cookie of its own.
        let other =
            world.visit("coder.test", "/@alice/dev/apps/owner/", &[("cookie", &cookie)]).await;
        assert_eq!(other.status, StatusCode::SEE_OTHER, "{uri}");

        // The way through sign-in keeps the address.
        let signed_out = world.visit("coder.test", &uri, &[]).await;
        let login = crate::world::query(&crate::world::location(&signed_out));
        assert_eq!(login["redirect"], uri);
        let elsewhere = world.visit("sydney.coder.com", &uri, &[]).await;
        let redirect = crate::world::query(&crate::world::location(&elsewhere));
        assert_eq!(redirect["redirect_uri"], format!("https://sydney.coder.com{uri}"));
        let slash = world.visit("coder.test", folder, &session).await;
        assert_eq!(header(&slash, "location"), format!("https://coder.test{folder}/"));
    }
    assert_eq!(agents.len(), 1, "all of them are of one agent");
    // The log has the slugs that the apps have.
    let rows = world.rows().await;
    let opened = rows.iter().filter(|row| row.status() == 200);
    let slugs: std::collections::BTreeSet<&str> = opened.map(|row| row.text("target")).collect();
    let stored = ["100%25", "Code", "Code Server", "a+b", "caf\u{e9}", "docs"];
    assert_eq!(slugs, stored.into_iter().collect());
}

/// The control plane's proxies send names and the base path decoded
#[tokio::test]
async fn a_proxys_visitor_returns_to_the_encoded_address() {
    let world = plan().serve().await;
    let visit = crate::world::by_path("alice", "cased", "", "Code Server", "");
    let sent = world.issue(visit).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", text(&sent));
    let redirect = crate::world::query(&crate::world::location(&sent));
    let back = "https://sydney.coder.com/@alice/cased/apps/Code%20Server/some/path/?a=1";
    assert_eq!(redirect["redirect_uri"], back);
}

#[tokio::test]
async fn a_path_that_does_not_decode_to_names_is_not_found() {
    let world = plan().serve().await;
    let session = [("coder-session-token", world.token("alice"))];
    for uri in [
        // Slashes of either kind are not part of a name.
        "/@alice/cased/apps/docs%2Fx/",
        "/@alice/cased/apps/docs%2f/",
        "/@alice/cased/apps/docs%5Cx/",
        "/@alice/cased/apps/docs\\x/",
        "/@alice%2Fcased/apps/docs/",
        "/@alice/cased%2Fapps%2Fdocs/",
        // Control characters, escapes that are not valid, and bytes that are not UTF-8
        "/@alice/cased/apps/docs%00/",
        "/@alice%00/cased/apps/docs/",
        "/@alice/cased%0A/apps/docs/",
        "/@alice/cased/apps/docs%7F/",
        "/@alice/cased/apps/docs%/",
        "/@alice/cased/apps/docs%2/",
        "/@alice/cased/apps/docs%zz/",
        "/@alice/cased/apps/docs%+1/",
        "/@alice/cased/apps/caf%E9/",
        "/@alice/cased/apps/docs%C0%AF/",
        "/@alice/cased/apps/docs%C1%A1/",
        "/@alice/cased/apps/%ED%A0%80/",
        "/@alice/cased/apps/%F4%90%80%80/",
        // Decoded once only
        "/@alice/cased/apps/%2564ocs/",
        "/%2540alice/cased/apps/docs/",
        "/@alice/cased/apps/Code%2520Server/",
        "/@alice/cased/apps/Code+Server/",
        // Not names of apps
        "/@alice/cased/apps/%2E%2E/",
        "/@alice/%2E/apps/docs/",
        "/@alice/.main/apps/docs/",
        "/@alice/cased/%61pps/docs/",
        "/@alice/cased/apps/%20/",
        "/@me/cased/apps/docs/",
        "/@%6De/cased/apps/docs/",
    ] {
        for carrier in ["traefik", "caddy", "control-plane/caddy", "control-plane/traefik"] {
            let path = format!("/api/v2/forward-auth/{carrier}");
            let headers =
                [&[("x-forwarded-host", "coder.test"), ("x-forwarded-uri", uri)][..], &session];
            let answer = world.send("GET", &path, &headers.concat(), "").await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{carrier} {uri}: {}", text(&answer));
            assert!(set_cookies(&answer).is_empty(), "{carrier} {uri}");
        }
    }
}

/// The control plane reads some escaped names raw, and must not be given a token for another
#[tokio::test]
async fn the_control_plane_gets_only_names_that_it_reads_in_the_same_way() {
    let world = plan().serve().await;
    let session = ("coder-session-token", world.token("alice"));
    for (uri, status) in [
        ("/@alice/cased/apps/docs/x", 200),
        ("/%40alice/cased/apps/docs/x", 200),
        ("/@alice/cased/apps/Code%20Server/x", 200),
        ("/@alice/cased/apps/docs/x%2Fy", 200),
        ("/@alice/cased/apps/Code%20Server/x%2Fy", 404),
        ("/@%61lice/cased/apps/docs/x", 404),
        ("/@alice/cased%2Emain/apps/docs/x", 404),
    ] {
        let headers = [("x-forwarded-host", "coder.test"), ("x-forwarded-uri", uri), session];
        let path = "/api/v2/forward-auth/control-plane/traefik";
        let answer = world.send("GET", path, &headers, "").await;
        assert_eq!(answer.status.as_u16(), status, "{uri}: {}", text(&answer));
    }
}

#[tokio::test]
async fn the_import_route_names_what_can_never_work() {
    let world = plan().serve().await;
    let headers =
        [("coder-session-token", world.token("root")), ("content-type", "application/json")];
    let document = json!({
        "organizations": [{ "name": "new" }],
        "users": [{ "username": "nina", "organizations": { "new": [] } }],
        "workspaces": [{
            "name": "dev", "owner": "nina", "organization": "new",
            "builds": [{ "number": 1, "agents": [{
                "name": "main", "instance_id": "mi-0123456789abcdef0",
                "apps": [{ "slug": "8080", "url": "http://127.0.0.1:1", "subdomain": true }],
            }] }],
        }],
    });
    for query in ["?dry_run", ""] {
        let path = format!("/api/v2/authd/import{query}");
        let answer = world.send("POST", &path, &headers, &document.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", text(&answer));
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let warnings = answer["warnings"].as_array().unwrap();
        let paths: Vec<_> =
            warnings.iter().map(|warning| warning["path"].as_str().unwrap()).collect();
        let agent = "workspaces[0].builds[0].agents[0]";
        assert_eq!(paths, [format!("{agent}.instance_id"), format!("{agent}.apps[0].slug")]);
        assert!(warnings[0]["text"].as_str().unwrap().contains("managed node"), "{warnings:?}");
    }
    let none = world.send("POST", "/api/v2/authd/import", &headers, "{}").await;
    let none: serde_json::Value = serde_json::from_slice(&none.body).unwrap();
    assert_eq!(none["warnings"], json!([]));
}
