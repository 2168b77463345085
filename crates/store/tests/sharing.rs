//! A change to shares is notified to listeners of the database

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::time::{Duration, SystemTime};

use app_audit::{Act, ActKind};
use app_authz::{Directory, Rules};
use store::PgStore;
use store::fleet::{Fleet, SharingLevel, Transition};
use store::sharing::{Edit, ShareError, ShareRequest, change};
use testkit::{Database, OwnServer};
use tokio::time::timeout;
use uuid::Uuid;

use crate::common::notifications::listen;

mod common;

#[tokio::test]
async fn a_change_is_notified_with_the_workspace_and_a_repetition_is_not() {
    let database = Database::new().await;
    let store = database.store().await;
    let (fleet, workspace) = fleet();
    PgStore::load(&store, &fleet).await.unwrap();
    let (client, mut notified) = listen(&database, "authd_shares").await;

    for edit in [Edit::Add, Edit::Add, Edit::Remove, Edit::Remove] {
        share(&store, edit).await.unwrap();
    }
    // Notifications come in the order of their transactions, so this one is the last.
    client.batch_execute("NOTIFY authd_shares, 'end'").await.unwrap();
    for expected in [&*workspace.to_string(), &*workspace.to_string(), "end"] {
        let payload = timeout(Duration::from_secs(30), notified.recv()).await.unwrap();
        assert_eq!(payload.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn a_change_that_may_succeed_later_says_so() {
    let server = OwnServer::start().await;
    let database = server.database().await;
    PgStore::load(&database.store().await, &fleet().0).await.unwrap();
    database.set_read_only(true).await;
    let store = database.store().await;
    let ShareError::Store(error) = share(&store, Edit::Add).await.unwrap_err() else { panic!() };
    assert!(error.to_string().contains("the database accepts no writes"), "{error}");
}

/// Alice's workspace with an app, and Bob
fn fleet() -> (Fleet, Uuid) {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    fleet.user("bob", acme);
    let workspace = fleet.workspace(alice, "dev");
    fleet.templates.last_mut().unwrap().max_port_sharing_level = SharingLevel::Public;
    let build = fleet.build(workspace, Transition::Start);
    let agent = fleet.agent(build.resource, "main", "i-1").id;
    fleet.app(agent, "code");
    (fleet, workspace)
}

/// Changes whether the app is shared with Bob
async fn share(store: &PgStore, edit: Edit) -> Result<(), ShareError> {
    let mut asked = ShareRequest::of("alice/dev", "code").unwrap();
    (asked.edit, asked.users) = (edit, vec!["bob".to_owned()]);
    let facts = store.app_access(&asked.request().unwrap(), &[]).await.unwrap();
    let by = (None, SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let act = Act::new(ActKind::ShareChange, by.1);
    let place = facts.workspace.unwrap();
    change(store, &place, &asked, Rules::default(), by, &act).await.map(drop)
}
