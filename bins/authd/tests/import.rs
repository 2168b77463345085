//! `authd import`: documents become rows, and errors name their place

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::io::{BufRead, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use common::command::{Scratch, on as authd, text};
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
        "authd_shares alice/dev main/8081 with reviewers",
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
        (workspace(r#", "template": "linux""#), "workspaces[0].template: the template `linux`"),
        (workspace(r#", "builds": [{"number": 0}]"#), "workspaces[0].builds[0].number: builds are"),
        (
            workspace(r#", "builds": [{"number": 1, "agents": [{"name": "a"}, {"name": "a"}]}]"#),
            "workspaces[0].builds[0].agents[1].name: there is another agent `a` here",
        ),
        (
            workspace(r#", "shared_with": {"users": {"bob": "use"}}"#),
            "workspaces[0].shared_with.users.bob: the user `bob` is in neither the document nor",
        ),
        (
            workspace(r#", "shares": [{"agent": "a", "app": "code", "users": ["bob"]}]"#),
            "workspaces[0].shares[0].users[0]: the user `bob` is in neither the document nor",
        ),
        (
            workspace(r#", "shares": [{"agent": "a", "app": "code", "groups": ["crew"]}]"#),
            "workspaces[0].shares[0].groups[0]: the group `crew` is in neither the document nor",
        ),
        (
            workspace(r#", "shares": [{"agent": "a", "app": "8"}]"#),
            "workspaces[0].shares[0].app: the port is reserved",
        ),
        (
            workspace(r#", "shares": [{"agent": "a", "app": "80"}, {"agent": "a", "app": "80s"}]"#),
            "workspaces[0].shares[1].app: there is another share of `80`",
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
        (workspace(r#""shares": [["a", "code"]]"#), "workspaces[0].shares[0]"),
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

fn document(name: &str, workspaces: u32) -> String {
    let workspace = |n: u32| {
        format!(
            r#"{{"name": "{name}{n}", "owner": "alice", "organization": "acme", "template": "linux",
                "shared_with": {{"users": {{"bob": "use"}}, "groups": {{"reviewers": "use"}}}},
                "builds": [{{"number": 1, "agents": [{{"name": "main", "apps": [
                    {{"slug": "code", "url": "http://127.0.0.1:1"}}, {{"slug": "docs"}}]}}]}}]}}"#
        )
    };
    let workspaces: Vec<_> = (0..workspaces).map(workspace).collect();
    format!(r#"{{"workspaces": [{}]}}"#, workspaces.join(",\n"))
}

#[tokio::test]
async fn a_second_document_refers_to_entries_of_the_first_by_name() {
    let database = Database::new().await;
    import(&database, EXAMPLE, &[]).await;
    let output = import(&database, &document("more", 1), &[]).await;
    let text = printed(&output);
    assert!(text.starts_with("+ workspaces alice/more0\n"), "{text}");
    assert!(text.ends_with("added 7, changed 0, removed 0, unchanged 0\n"), "{text}");
    let found = "SELECT count(*) FROM workspaces w JOIN users u ON u.id = w.owner_id
                 JOIN templates t ON t.id = w.template_id WHERE w.name = 'more0'";
    assert_eq!(database.sql(found).await, ["1"]);

    // An entry without an id is the one of its name, whatever id that has.
    let id = "6f5a1f0e-6a3b-4c51-9d5e-2f1c8a1f7f10";
    database.sql(&format!("UPDATE users SET id = '{id}' WHERE username = 'bob'")).await;
    let output = import(&database, "users = [{username = 'Bob', status = 'dormant'}]", &[]).await;
    let text = printed(&output);
    assert!(text.contains("~ users Bob: status \"active\" -> \"dormant\""), "{text}");
    assert_eq!(database.sql("SELECT id FROM users WHERE username = 'Bob'").await, [id]);

    // A deleted entry stays the same one, and does not count for others.
    let deleted = "users = [{username = 'bob', deleted = true}]";
    import(&database, deleted, &[]).await;
    let again = printed(&import(&database, deleted, &[]).await);
    assert!(again.starts_with("added 0, changed 0, removed 0, unchanged 1"), "{again}");
    let text = printed(&import(&database, &document("other", 1), &[]).await);
    assert!(text.contains("workspaces[0].shared_with.users.bob: the user `bob`"), "{text}");
}

#[tokio::test]
async fn two_entries_with_one_id_are_refused_with_the_place() {
    let database = Database::new().await;
    let id = "6f5a1f0e-6a3b-4c51-9d5e-2f1c8a1f7f10";
    let app = format!(r#"{{"id": "{id}", "slug": "code"}}"#);
    let workspace = |name: &str| {
        format!(
            r#"{{"name": "{name}", "owner": "{id}", "organization": "{id}", "builds": [
                {{"number": 1, "agents": [{{"name": "main", "apps": [{app}]}}]}}]}}"#
        )
    };
    for (names, place) in [
        (["a", "b"], "workspaces[1]: another row of workspace_apps has the key"),
        (["a", "A"], "workspaces[1]: another row of workspaces has the key"),
    ] {
        let workspaces = names.map(workspace).join(",");
        let output = import(&database, &format!(r#"{{"workspaces": [{workspaces}]}}"#), &[]).await;
        assert_eq!(output.status.code(), Some(2));
        assert!(printed(&output).contains(place), "{}", printed(&output));
    }
    assert_eq!(database.sql("SELECT count(*) FROM workspaces").await, ["0"]);
}

#[tokio::test]
async fn a_name_is_handed_on_in_one_import() {
    let database = Database::new().await;
    let [old, new] =
        ["6f5a1f0e-6a3b-4c51-9d5e-2f1c8a1f7f10", "6f5a1f0e-6a3b-4c51-9d5e-2f1c8a1f7f11"];
    let user = |id: &str, name: &str| {
        format!("{{id = '{id}', username = '{name}', email = '{id}@example.com'}}")
    };
    import(&database, &format!("users = [{}]", user(old, "alice")), &[]).await;
    let both = format!("users = [{}, {}]", user(old, "former"), user(new, "alice"));
    let output = import(&database, &both, &[]).await;
    assert!(output.status.success(), "{}", printed(&output));
    let users = database.sql("SELECT id, username FROM users ORDER BY id").await;
    assert_eq!(users, [format!("{old}|former"), format!("{new}|alice")]);
}

#[tokio::test]
async fn an_export_is_a_document_that_changes_nothing() {
    let database = Database::new().await;
    import(&database, EXAMPLE, &[]).await;
    let folder = Scratch::new();
    let file = text(&folder.0.join("fleet.json"));

    let (status, printed, stderr) = authd(&database, &["export"]).await;
    assert_eq!((status, &*stderr), (Some(0), ""));
    let token = database.sql("SELECT auth_token FROM workspace_agents").await.remove(0);
    assert!(printed.contains("\"alice\"") && !printed.contains(&token), "{printed}");

    let (status, _, stderr) = authd(&database, &["export", "--with-secrets"]).await;
    assert_eq!(status, Some(2), "tokens are written to a file only");
    assert!(stderr.contains("--output"), "{stderr}");
    let arguments = ["export", "--with-secrets", "--output", &file];
    for _ in 0..2 {
        let done = authd(&database, &arguments).await;
        assert_eq!(done, (Some(0), String::new(), String::new()));
    }
    assert!(std::fs::read_to_string(&file).unwrap().contains(&token));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);

    let other = Database::new().await;
    for (database, expected) in [(&database, "added 0, changed 0, "), (&other, "+ organizations")] {
        let (_, printed, stderr) = authd(database, &["import", &file]).await;
        assert!(printed.starts_with(expected), "{printed}{stderr}");
    }
    assert_eq!(authd(&other, &["export"]).await.1, printed);
    assert_eq!(other.sql("SELECT auth_token FROM workspace_agents").await, [token]);
}

#[tokio::test]
async fn a_large_import_needs_little_memory_and_prints_the_first_differences() {
    let database = Database::new().await;
    import(&database, EXAMPLE, &[]).await;
    let folder = Scratch::new();
    let file = folder.write("fleet.json", document("w", 4_000));
    let url = database.url().to_owned();
    let peak = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
        command.args(["import", &file, "--dry-run", "--json", "--database-url", &url]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        // What is printed does not fit into a pipe, so the command is still there after the first
        // byte, and has done all of its work.
        let mut first = [0];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut first).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let lines = std::io::BufReader::new(stdout).lines().count();
        assert!(child.wait().unwrap().success());
        assert_eq!(lines, 28_000);
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    });
    // All rows in memory as JSON took 24 KB for each workspace.
    let peak = peak.await.unwrap();
    assert!(peak < 80_000, "{peak} kB");

    let output = import(&database, &document("w", 100), &[]).await;
    let text = printed(&output);
    assert_eq!(text.matches("\n+ workspace_apps ").count(), 20);
    assert!(text.contains("\n… and 180 more rows of workspace_apps\n"), "{text}");
    assert!(text.ends_with("added 700, changed 0, removed 0, unchanged 0\n"), "{text}");
}
