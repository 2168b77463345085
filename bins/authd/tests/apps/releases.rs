//! Decisions that differ between releases of the control plane, over HTTP

use serde_json::{Value, json};
use store::fleet::{CustomRole, SharingLevel};
use testkit::{Database, Release};
use uuid::Uuid;

use crate::world::{Plan, World};

/// The statuses of visits to four apps: shared with the owner, the organization, all signed-in
/// users, and the public
async fn levels(world: &World, token: &str, host: &str) -> [u16; 4] {
    let mut statuses = [0; 4];
    for (slug, status) in ["owner", "org", "authed", "public"].into_iter().zip(&mut statuses) {
        let host = format!("{slug}--{host}.test.coder.com");
        let session = [("coder-session-token", token)];
        *status = world.visit(&host, "/", &session).await.status.as_u16();
    }
    statuses
}

#[tokio::test]
async fn users_without_an_organization_open_what_the_release_allows() {
    for (release, authed) in [
        (Some(Release::V2_24), 200),
        (Some(Release::V2_26), 200),
        (Some(Release::V2_27), 200),
        (Some(Release::V2_28), 404),
        (Some(Release::NEWEST), 404),
        (None, 404),
    ] {
        let mut plan = Plan::new();
        let [carol, acme] = [plan.people["carol"].id, plan.rows.organizations[0].id];
        plan.rows.organization_members.retain(|member| member.user_id != carol);
        let database = match release {
            Some(release) => Database::of_release(release).await,
            None => Database::new().await,
        };
        let world = plan.serve_from(database).await;
        for token in [world.token("carol"), world.scoped("carol")] {
            let found = levels(&world, token, "agent--dev--alice").await;
            assert_eq!(found, [404, 404, authed, 200], "{release:?}");
        }
        // As a member she has the same access as others.
        let join = format!(
            "INSERT INTO organization_members (organization_id, user_id, created_at, updated_at)
             VALUES ('{acme}', '{carol}', now(), now())"
        );
        let own = format!(
            "INSERT INTO organization_members (organization_id, user_id)
             VALUES ('{acme}', '{carol}')"
        );
        world.database.sql(if release.is_some() { &join } else { &own }).await;
        let found = levels(&world, world.token("carol"), "agent--dev--alice").await;
        assert_eq!(found, [404, 200, 200, 200], "{release:?}");
    }
}

/// A deployment may reserve workspaces for service accounts and take them from plain members
#[tokio::test]
async fn members_and_service_accounts_open_what_the_rows_of_their_roles_allow() {
    for release in [Some(Release::V2_32), Some(Release::NEWEST), None] {
        let mut plan = Plan::new();
        let acme = plan.rows.organizations[0].id;
        let bot = plan.rows.user("bot", acme);
        plan.rows.users.last_mut().unwrap().is_service_account = true;
        let token = plan.rows.session(bot);
        plan.rows.api_keys.last_mut().unwrap().last_used = plan.now.into();
        let agent = plan.agent;
        let workspace = plan.rows.workspace(bot, "work");
        let build = plan.rows.build(workspace, store::fleet::Transition::Start);
        let runner = plan.rows.agent(build.resource, "agent", "i-9").id;
        for row in plan.rows.workspace_agents.iter_mut().filter(|row| row.id == runner) {
            row.first_connected_at = Some(plan.now.into());
            row.last_connected_at = Some(plan.now.into());
        }
        for (slug, level) in [
            ("owner", SharingLevel::Owner),
            ("org", SharingLevel::Organization),
            ("authed", SharingLevel::Authenticated),
            ("public", SharingLevel::Public),
        ] {
            plan.rows.app(runner, slug).sharing_level = level;
        }
        let connect = json!([{
            "negate": false, "resource_type": "workspace", "action": "application_connect",
        }]);
        for (name, member_permissions) in
            [("organization-member", json!([])), ("organization-service-account", connect.clone())]
        {
            plan.rows.custom_roles.push(system_role(name, acme, member_permissions));
        }
        let database = match release {
            Some(release) => Database::of_release(release).await,
            None => Database::new().await,
        };
        let world = plan.serve_from(database).await;
        let bot = token.reveal();
        let none = [404, 404, 404, 200];
        let all = [200; 4];
        let others = [404, 200, 200, 200];
        let at = async |token: &str, host: &str| levels(&world, token, host).await;
        assert_eq!(at(world.token("alice"), "agent--dev--alice").await, none, "{release:?}");
        assert_eq!(at(world.token("bob"), "agent--dev--alice").await, none, "{release:?}");
        assert_eq!(at(bot, "agent--work--bot").await, all, "{release:?}");
        assert_eq!(at(bot, "agent--dev--alice").await, others, "{release:?}");
        // In another organization, which does not have rows for its roles.
        let carol = at(world.token("carol"), "agent--dev--alice").await;
        assert_eq!(carol, [404, 404, 200, 200], "{release:?}");
        let terminal = format!("/api/v2/workspaceagents/{agent}/pty");
        let session = [("coder-session-token", world.token("alice"))];
        assert_eq!(world.visit("coder.test", &terminal, &session).await.status, 404);

        // The row is read for each visit.
        let give = format!(
            "UPDATE custom_roles SET member_permissions = '{connect}'
             WHERE name = 'organization-member'"
        );
        world.database.sql(&give).await;
        assert_eq!(at(world.token("alice"), "agent--dev--alice").await, all, "{release:?}");
        assert_eq!(at(world.token("bob"), "agent--dev--alice").await, others, "{release:?}");
        // Permissions that the row lacks are denied, even if the built-in role has them.
        assert_eq!(world.visit("coder.test", &terminal, &session).await.status, 404);
    }
}

fn system_role(name: &str, organization: Uuid, member_permissions: Value) -> CustomRole {
    CustomRole {
        id: Uuid::new_v4(),
        name: name.to_owned(),
        organization_id: Some(organization),
        site_permissions: json!([]),
        org_permissions: json!([]),
        user_permissions: json!([]),
        member_permissions,
        is_system: true,
    }
}
