//! `authd share`: operators share apps and ports with people by name

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use common::command::on as authd;
use serde_json::{Value, json};
use store::fleet::{Fleet, SharingLevel, Transition};
use testkit::Database;

async fn with_workspace() -> Database {
    let database = Database::new().await;
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    let bob = fleet.user("bob", acme);
    fleet.group("crew", acme, &[bob]);
    let workspace = fleet.workspace(alice, "dev");
    fleet.templates.last_mut().unwrap().max_port_sharing_level = SharingLevel::Public;
    let build = fleet.build(workspace, Transition::Start);
    let agent = fleet.agent(build.resource, "main", "i-1").id;
    fleet.app(agent, "code");
    database.store().await.load(&fleet).await.unwrap();
    database
}

#[tokio::test]
async fn what_is_shared_is_listed_explained_and_withdrawn() {
    let database = with_workspace().await;
    let done = async |args: &[&str]| {
        let (status, printed, stderr) = authd(&database, args).await;
        assert_eq!(status, Some(0), "{args:?}: {stderr}");
        printed
    };
    let session = done(&["token", "create", "--user", "bob"]).await;
    let session = &session[..10];
    let explain = ["share", "explain", "alice/dev", "code", "--session", session];
    assert!(done(&explain).await.starts_with("denied: "));

    let add = ["share", "add", "alice/dev", "code", "--user", "BOB", "--group", "crew"];
    assert_eq!(done(&add).await, "added: 2, removed: 0\n");
    assert_eq!(done(&add).await, "added: 0, removed: 0\n", "once more");
    let port = ["share", "add", "alice/dev", "8080", "--user", "bob", "--json"];
    let printed: Value = serde_json::from_str(&done(&port).await).unwrap();
    assert_eq!(printed, json!({ "added": 1, "removed": 0 }));

    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for list in [&["share", "list"][..], &["share", "list", "alice/dev"]] {
        let table = done(list).await;
        let table: Vec<_> = table.lines().map(words).collect();
        assert_eq!(
            table,
            [
                ["WORKSPACE", "AGENT", "APP", "KIND", "NAME"],
                ["alice/dev", "main", "8080", "user", "bob"],
                ["alice/dev", "main", "code", "user", "bob"],
                ["alice/dev", "main", "code", "group", "crew"],
            ]
        );
    }
    let lines = done(&["share", "list", "--json"]).await;
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (rows.len(), &rows[2]["name"], &rows[2]["is_group"]),
        (3, &json!("crew"), &json!(true))
    );

    assert!(done(&explain).await.starts_with("allowed: a share with user "));
    let remove = ["share", "remove", "alice/dev", "code", "--user", "bob"];
    assert_eq!(done(&remove).await, "added: 0, removed: 1\n");
    let by_group = done(&explain).await;
    assert!(by_group.starts_with("allowed: ") && by_group.contains("group"), "{by_group}");
    done(&["share", "remove", "alice/dev", "code", "--group", "crew"]).await;
    assert!(done(&explain).await.starts_with("denied: "));
}

#[tokio::test]
async fn what_cannot_be_shared_is_said() {
    let database = with_workspace().await;
    for (args, said) in [
        (&["add", "alice/dev", "code"][..], "--user <NAME>|--group <NAME>"),
        (&["add", "alice", "code", "--user", "bob"], "OWNER/WORKSPACE"),
        (&["add", "alice/none", "code", "--user", "bob"], "`alice/none` does not exist"),
        (&["add", "alice/dev", "none", "--user", "bob"], "no such app"),
        (&["add", "alice/dev", "code", "--user", "ghost"], "the user `ghost` does not exist"),
        (&["add", "alice/dev", "code", "--group", "ghosts"], "the group `ghosts` does not exist"),
        (&["add", "alice/dev", "7", "--user", "bob"], "ports below 9 are reserved"),
        (&["list", "alice/none"], "`alice/none` does not exist"),
        (
            &["explain", "alice/dev", "code", "--session", "none"],
            "the session `none` does not exist",
        ),
    ] {
        let (status, printed, stderr) = authd(&database, &[&["share"], args].concat()).await;
        assert_eq!((status, &*printed), (Some(2), ""), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
    let (_, table, _) = authd(&database, &["share", "list"]).await;
    assert_eq!(table.lines().count(), 1, "{table}");
}
