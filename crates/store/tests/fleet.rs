//! Fleets are read, written and loaded whole

use serde_json::json;
use store::Error;
use store::fleet::{
    CryptoKey, CustomRole, Fleet, Hidden, JobType, KeyFeature, LoginType, Oauth2ProviderAppToken,
    PortShareProtocol, Share, SharingLevel, TemplateVersion, Transition, UserLink, UserStatus,
    WorkspaceAgentPortShare,
};
use testkit::Database;
use uuid::Uuid;

#[test]
fn a_fleet_survives_json() {
    let fleet = every_table();
    let json = serde_json::to_string(&fleet).unwrap();
    assert_eq!(serde_json::from_str::<Fleet>(&json).unwrap(), fleet);
}

#[test]
fn only_columns_without_a_default_must_be_given() {
    let fleet: Fleet = serde_json::from_str(
        r#"{"users": [{
            "id": "6f5a1f0e-6a3b-4c51-9d5e-2f1c8a1f7f10", "username": "alice", "email": "a@b.c",
            "created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-01T00:00:00Z"
        }]}"#,
    )
    .unwrap();
    assert_eq!(fleet.users[0].status, UserStatus::Dormant);
    assert!(fleet.workspaces.is_empty());
}

#[test]
fn unknown_tables_columns_and_labels_are_refused() {
    for json in [
        r#"{"user": []}"#,
        r#"{"organizations": [{"id": "6f5a1f0e-6a3b-4c51-9d5e-2f1c8a1f7f10", "name": "a", "x": 1}]}"#,
        r#"{"workspace_agent_port_share": [{"workspace_id": "6f5a1f0e-6a3b-4c51-9d5e-2f1c8a1f7f10",
            "agent_name": "main", "port": 1, "share_level": "everybody"}]}"#,
    ] {
        assert!(serde_json::from_str::<Fleet>(json).is_err(), "{json}");
    }
}

#[test]
fn a_digest_is_written_as_postgresql_prints_it() {
    let digest: store::fleet::Digest = serde_json::from_str(r#""\\x00fFa9""#).unwrap();
    assert_eq!(digest.0, [0, 255, 169]);
    assert_eq!(serde_json::to_string(&digest).unwrap(), r#""\\x00ffa9""#);
    for bad in [r#""00ff""#, r#""\\x0""#, r#""\\x+f""#, r#""\\xé""#, "7"] {
        assert!(serde_json::from_str::<store::fleet::Digest>(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_token_is_never_printed() {
    let fleet = every_table();
    let token = fleet.workspace_agents[0].auth_token.0.to_string();
    assert!(!format!("{fleet:?}").contains(&token));
}

#[tokio::test]
async fn every_table_of_a_fleet_is_loaded() {
    let database = Database::new().await;
    let fleet = every_table();
    database.store().await.load(&fleet).await.unwrap();
    let serde_json::Value::Object(tables) = serde_json::to_value(&fleet).unwrap() else {
        panic!("a fleet is an object of tables")
    };
    for (table, rows) in tables {
        let loaded = database.sql(&format!("SELECT count(*) FROM {table}")).await;
        let expected = rows.as_array().unwrap().len();
        assert!(expected > 0, "{table} is not tried");
        assert_eq!(loaded, [expected.to_string()], "{table}");
    }
}

#[tokio::test]
async fn a_fleet_is_loaded_whole_or_not_at_all() {
    let database = Database::new().await;
    let store = database.store().await;
    let fleet = every_table();
    store.load(&fleet).await.unwrap();

    let mut overlapping = Fleet::default();
    let workspace = overlapping.workspace(fleet.users[0].id, "other");
    overlapping.build(workspace, Transition::Start);
    overlapping.workspace_apps.clone_from(&fleet.workspace_apps);
    let error = store.load(&overlapping).await.unwrap_err();
    let Error::Query { reason } = error else { panic!("{error}") };
    assert!(reason.to_string().contains("workspace_apps_pkey"), "{reason}");
    assert_eq!(database.sql("SELECT count(*) FROM workspace_builds").await, ["1"]);
}

#[tokio::test]
async fn a_fleet_of_many_rows_is_loaded() {
    let database = Database::new().await;
    let mut fleet = Fleet::default();
    for n in 0..6_000 {
        fleet.organization(&format!("organization-{n}"));
    }
    database.store().await.load(&fleet).await.unwrap();
    assert_eq!(database.sql("SELECT count(*) FROM organizations").await, ["6000"]);
}

/// At least one row of each table
fn every_table() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    fleet.users[0].rbac_roles.push("owner".to_owned());
    let workspace = fleet.workspace(alice, "dev");
    let build = fleet.build(workspace, Transition::Start);
    fleet.bare_job(JobType::TemplateVersionDryRun, acme);
    let agent = fleet.agent(build.resource, "main", "i-0abc").id;
    fleet.app(agent, "code").sharing_level = SharingLevel::Public;
    fleet.workspace_agent_port_share.push(WorkspaceAgentPortShare {
        workspace_id: workspace,
        agent_name: "main".to_owned(),
        port: 8080,
        share_level: SharingLevel::Authenticated,
        protocol: PortShareProtocol::Https,
    });
    fleet.authd_shares.push(Share {
        workspace_id: workspace,
        agent_name: "main".to_owned(),
        slug_or_port: "code".to_owned(),
        is_group: false,
        person_id: alice,
        created_at: fleet.users[0].created_at,
        created_by: None,
    });
    fleet.template_versions.push(TemplateVersion {
        id: Uuid::new_v4(),
        template_id: Some(fleet.templates[0].id),
        organization_id: acme,
        job_id: fleet.provisioner_jobs[1].id,
    });
    fleet.group("admins", acme, &[alice]);
    fleet.custom_roles.push(CustomRole {
        id: Uuid::new_v4(),
        name: "observer".to_owned(),
        organization_id: Some(acme),
        site_permissions: json!([]),
        org_permissions: json!([{"negate": false, "resource_type": "workspace", "action": "read"}]),
        user_permissions: json!([]),
        member_permissions: json!([]),
        is_system: false,
    });
    fleet.user_links.push(UserLink {
        user_id: alice,
        login_type: LoginType::Oidc,
        oauth_refresh_token: Hidden("refresh".to_owned()),
        oauth_expiry: fleet.users[0].created_at,
    });
    fleet.session(alice);
    fleet.oauth2_provider_app_tokens.push(Oauth2ProviderAppToken {
        id: Uuid::new_v4(),
        api_key_id: fleet.api_keys[0].id.clone(),
        audience: Some("https://coder.example.com".to_owned()),
    });
    fleet.proxy("sydney", "https://sydney.example.com", "*.sydney.example.com");
    fleet.crypto_keys.push(CryptoKey {
        feature: KeyFeature::WorkspaceAppsToken,
        sequence: 1,
        secret: Some(Hidden("00".repeat(64))),
        starts_at: fleet.users[0].created_at,
        deletes_at: None,
    });
    fleet
}
