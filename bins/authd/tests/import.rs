//! `authd import`: documents become rows, and errors name their place

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use testkit::Database;

const EXAMPLE: &str = include_str!("../../../docs/examples/deployment.toml");

async fn import(database: &Database, document: &str, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
    command.args(["import", "-", "--log-level", "error", "--database-url", database.url()]);
    command.args(flags);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let document = document.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr[..]].concat()).unwrap()
}

#[tokio::test]
async fn importing_the_example_twice_changes_nothing_the_second_time() {
    let database = Database::new().await;
    let planned = import(&database, EXAMPLE, &["--dry-run"]).await;
    assert!(planned.status.success(), "{}", printed(&planned));
    assert_eq!(database.sql("SELECT count(*) FROM users").await, ["0"]);

    let first = import(&database, EXAMPLE, &[]).await;
    let expected = printed(&planned).replace("would be ", "");
    assert_eq!(printed(&first), expected);
    assert!(expected.starts_with("+ organizations acme\n"), "{expected}");
    // Names, also where a row has only ids.
    for line in [
        "organization_members alice in acme",
        "group_members bob in reviewers",
        "custom_roles acme/watcher",
        "workspaces alice/dev",
        "provisioner_jobs alice/dev build 1",
        "workspace_apps alice/dev build 1 main/code",
        "workspace_agent_port_share alice/dev main:8080",
    ] {
        assert!(expected.contains(&format!("\n+ {line}\n")), "{line}: {expected}");
    }

    let token = database.sql("SELECT auth_token FROM workspace_agents").await;
    let again = import(&database, EXAMPLE, &[]).await;
    let text = printed(&again);
    assert!(text.starts_with("added 0, changed 0, removed 0, unchanged "), "{text}");
    assert_eq!(database.sql("SELECT auth_token FROM workspace_agents").await, token);
}

#[tokio::test]
async fn a_change_is_reported_and_made() {
    let database = Database::new().await;
    import(&database, EXAMPLE, &[]).await;
    let changed = EXAMPLE
        .replace("sharing_level = \"organization\"", "sharing_level = \"public\"")
        .replace("members = [\"bob\"]", "members = []");
    let output = import(&database, &changed, &[]).await;
    let text = printed(&output);
    let app = "~ workspace_apps alice/dev build 1 main/preview: sharing_level \"organization\" -> \"public\"\n";
    assert!(text.contains(app), "{text}");
    assert!(text.contains("- group_members bob in reviewers\n"), "{text}");
    assert!(text.contains("added 0, changed 1, removed 1, "), "{text}");
    assert_eq!(database.sql("SELECT count(*) FROM group_members").await, ["0"]);

    let output = import(&database, EXAMPLE, &["--json", "--dry-run"]).await;
    let lines: Vec<serde_json::Value> =
        printed(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| {
        line["table"] == "workspace_apps"
            && line["change"]["changed"][0]["column"] == "sharing_level"
            && line["change"]["changed"][0]["to"] == "organization"
    }));
}

#[tokio::test]
async fn an_invalid_document_is_refused_with_the_place() {
    let database = Database::new().await;
    let workspace = |more: &str| {
        format!(
            r#"{{"organizations": [{{"name": "acme"}}], "users": [{{"username": "alice"}}],
                "workspaces": [{{"name": "dev", "owner": "alice", "organization": "acme"{more}}}]}}"#
        )
    };
    for (document, place) in [
        (r#"{"organisations": []}"#.to_owned(), "unknown field `organisations`"),
        ("[[users]]\nname = 1".to_owned(), "users[0].name: line 2: unknown field"),
        ("users = 7".to_owned(), "users: line 1: invalid type"),
        ("{\"users\": [], }".to_owned(), "trailing comma"),
        ("users = [".to_owned(), "not valid: line 1: "),
        ("{".to_owned(), "not valid: EOF while parsing"),
        (workspace(r#", "template": "linux""#), "workspaces[0].template: there is no template"),
        (workspace(r#", "builds": [{"number": 0}]"#), "workspaces[0].builds[0].number: builds are"),
        (
            workspace(r#", "builds": [{"number": 1, "agents": [{"name": "a"}, {"name": "a"}]}]"#),
            "workspaces[0].builds[0].agents[1].name: there is another agent `a` here",
        ),
        (
            workspace(r#", "shared_with": {"users": {"bob": "use"}}"#),
            "workspaces[0].shared_with.users.bob: there is no user `bob`",
        ),
        (
            workspace(r#", "port_shares": [{"agent": "a", "port": 99999, "level": "public"}]"#),
            "workspaces[0].port_shares[0].port: invalid value",
        ),
        (
            workspace(
                r#", "port_shares": [{"agent": "a", "port": 80, "level": "public"},
                                     {"agent": "a", "port": 80, "level": "authenticated"}]"#,
            ),
            "workspaces[0].port_shares[1].port: port 80 is shared already",
        ),
        (
            workspace(
                r#", "builds": [{"number": 1, "agents": [{"name": "a",
                                 "apps": [{"slug": "code", "url": "127.0.0.1:80"}]}]}]"#,
            ),
            "workspaces[0].builds[0].agents[0].apps[0].url: `127.0.0.1:80` is not a valid url",
        ),
        (
            "users = [{username = 'a', roles = ['']}]".to_owned(),
            "users[0].roles[0]: `` is not a role name",
        ),
        (
            "organizations = [{name = 'acme'}]\n\
             users = [{username = 'a', organizations = {acme = ['x:y']}}]"
                .to_owned(),
            "users[0].organizations.acme[0]: `x:y` is not a role name",
        ),
        (
            "organizations = [{name = 'acme'}]\nusers = [{username = 'a'}]\n\
             groups = [{name = 'g', organization = 'acme', members = ['a', 'A']}]"
                .to_owned(),
            "groups[0].members[1]: `A` is a member already",
        ),
        (
            "roles = [{name = 'r', site_permissions = [{resource_type = '', action = '*'}]}]"
                .to_owned(),
            "roles[0].site_permissions[0].resource_type: must not be empty",
        ),
        (
            "proxies = [{name = 'p', url = 'sydney.example.com'}]".to_owned(),
            "proxies[0].url: `sydney.example.com` is not a valid url",
        ),
        (
            "proxies = [{name = 'p', url = 'https://p.example', wildcard_hostname = 'p.example'}]"
                .to_owned(),
            "proxies[0].wildcard_hostname: ",
        ),
    ] {
        let output = import(&database, &document, &[]).await;
        assert_eq!(output.status.code(), Some(2), "{document}");
        let text = printed(&output);
        assert!(text.contains(place), "{document}: {text}");
    }
    assert_eq!(database.sql("SELECT count(*) FROM organizations").await, ["0"]);
}

#[tokio::test]
async fn an_error_message_contains_no_token() {
    let database = Database::new().await;
    let secret = "0b4f7d3e-2a51";
    for agent in [
        format!("{{ name = 'main', token = '{secret}', tokn = 1 }}"),
        format!("{{ name = 'main', token = '{secret}' }}"),
        format!("{{ name = 'main', token = ['{secret}'] }}"),
        format!("{{ name = 'main', token = '{secret}' "),
    ] {
        let toml = format!(
            "[[workspaces]]\nname = 'd'\nowner = 'a'\norganization = 'o'\n\
             builds = [{{ number = 1, agents = [{agent}] }}]"
        );
        let json = agent.replace('\'', "\"").replace(" =", ":");
        let json = json.replace("{ name", "{ \"name\"").replace(" tok", " \"tok");
        let json = json.replace("token:", "token\":").replace("tokn:", "tokn\":");
        let json = format!(
            r#"{{"workspaces": [{{"name": "d", "owner": "a", "organization": "o",
                "builds": [{{"number": 1, "agents": [{json}]}}]}}]}}"#
        );
        for document in [toml, json] {
            let output = import(&database, &document, &[]).await;
            assert_eq!(output.status.code(), Some(2), "{document}");
            let text = printed(&output);
            assert!(text.contains(" line 5") || text.contains(" line 2"), "{document}: {text}");
            assert!(!text.contains(secret), "{document}: {text}");
        }
    }
}

#[tokio::test]
async fn an_email_address_stays_until_the_document_has_another() {
    let database = Database::new().await;
    let email = async || database.sql("SELECT email FROM users").await;
    for (document, expected) in [
        ("users = [{username = 'alice'}]", "alice@localhost"),
        ("users = [{username = 'alice', email = 'alice@example.com'}]", "alice@example.com"),
        ("users = [{username = 'alice'}]", "alice@example.com"),
        // With a byte order mark, as some editors write it.
        ("\u{feff}{\"users\": [{\"username\": \"alice\", \"email\": \"a@b.c\"}]}", "a@b.c"),
    ] {
        printed(&import(&database, document, &[]).await);
        assert_eq!(email().await, [expected], "{document}");
    }
}

#[tokio::test]
async fn an_array_is_not_accepted_as_an_object_at_any_depth() {
    let database = Database::new().await;
    let build = |inner: &str| {
        format!(
            r#"{{"workspaces": [{{"name": "dev", "owner": "a", "organization": "o",
                "builds": [{{"number": 1, "agents": [{inner}]}}]}}]}}"#
        )
    };
    let workspace = |field: &str| {
        format!(
            r#"{{"workspaces": [{{"name": "d", "owner": "a", "organization": "o", {field}}}]}}"#
        )
    };
    let toml = |text: &str| text.to_owned();
    // Each is an object written as an array of its fields in order.
    for (document, place) in [
        (toml(r#"{"organizations": [[null, "acme", false]]}"#), "organizations[0]"),
        (toml(r#"{"users": [[null, "alice"]]}"#), "users[0]"),
        (
            toml(r#"{"groups": [{"name": "g", "organization": "o"}, [null, "h", "o"]]}"#),
            "groups[1]",
        ),
        (toml(r#"{"roles": [[null, "r"]]}"#), "roles[0]"),
        (
            toml(
                r#"{"roles": [{"name": "r", "user_permissions": [[false, "workspace", "read"]]}]}"#,
            ),
            "roles[0].user_permissions[0]",
        ),
        (toml(r#"{"templates": [[null, "t", "o"]]}"#), "templates[0]"),
        (toml(r#"{"proxies": [[null, "p", "https://p.example"]]}"#), "proxies[0]"),
        (toml(r#"{"workspaces": [[null, "dev", "a", "o"]]}"#), "workspaces[0]"),
        (workspace(r#""shared_with": [{}, {}]"#), "workspaces[0].shared_with"),
        (workspace(r#""shared_with": {"users": ["use"]}"#), "workspaces[0].shared_with.users"),
        (workspace(r#""port_shares": [["a", 80, "public"]]"#), "workspaces[0].port_shares[0]"),
        (workspace(r#""builds": [[null, 1]]"#), "workspaces[0].builds[0]"),
        (build(r#"[null, "agent"]"#), "workspaces[0].builds[0].agents[0]"),
        (
            build(r#"{"name": "agent", "apps": [{"slug": "a"}, [null, "b"]]}"#),
            "workspaces[0].builds[0].agents[0].apps[1]",
        ),
        (toml("users = [{username = 'alice'}, ['', 'bob']]"), "users[1]"),
        (
            toml(
                "[[workspaces]]\nname = 'd'\nowner = 'a'\norganization = 'o'\nshared_with = [{}, {}]",
            ),
            "workspaces[0].shared_with",
        ),
    ] {
        let output = import(&database, &document, &["--dry-run"]).await;
        assert_eq!(output.status.code(), Some(2), "{document}");
        let text = printed(&output);
        assert!(text.contains(&format!(" {place}: ")), "{document}: {text}");
        assert!(text.contains("invalid type: sequence, expected a"), "{document}: {text}");
    }
}

#[tokio::test]
async fn an_import_that_the_database_refuses_changes_nothing() {
    let database = Database::new().await;
    import(&database, EXAMPLE, &[]).await;
    let other = r#"{"organizations": [{"name": "other"}],
        "users": [{"username": "Alice", "id": "6f5a1f0e-6a3b-4c51-9d5e-2f1c8a1f7f10"}]}"#;
    let output = import(&database, other, &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(printed(&output).contains("users_"), "{}", printed(&output));
    assert_eq!(database.sql("SELECT name FROM organizations").await, ["acme"]);
}

#[tokio::test]
async fn what_can_never_work_is_imported_with_a_warning() {
    let database = Database::new().await;
    let document = EXAMPLE
        .replace("i-0123456789abcdef0", "sir-08b93456")
        .replace("slug = \"code\"", "slug = \"my_code\"");
    for flags in [&["--dry-run"][..], &["--json"], &[]] {
        let output = import(&database, &document, flags).await;
        assert!(output.status.success(), "{}", printed(&output));
        let stderr = String::from_utf8(output.stderr.clone()).unwrap();
        let lines: Vec<&str> = stderr.lines().collect();
        let [id, slug] = &lines[..] else { panic!("{stderr}") };
        let agent = "workspaces[0].builds[0].agents[0]";
        assert!(id.starts_with(&format!("warning: {agent}.instance_id: ")), "{id}");
        assert!(id.contains("`sir-08b93456`") && id.contains("Spot request"), "{id}");
        assert!(slug.starts_with(&format!("warning: {agent}.apps[0].slug: ")), "{slug}");
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(!stdout.contains("warning"), "{stdout}");
    }
    let stored = database.sql("SELECT auth_instance_id FROM workspace_agents").await;
    assert_eq!(stored, ["sir-08b93456"]);
}
