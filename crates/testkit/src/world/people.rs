use chrono::Duration;
use serde_json::{Value, json};
use store::fleet::{LoginType, OrganizationMember, User, UserStatus};
use uuid::Uuid;

use super::World;
use crate::Release;

impl World {
    /// Organizations, users of all kinds, groups and roles
    pub(super) fn add_people(&mut self) {
        for name in ["acme", "globex", "walled", "granting"] {
            let id = self.fleet.organization(name);
            self.ids.insert(name.to_owned(), id);
        }
        for (name, organization) in [
            ("alice", "acme"),
            ("bob", "acme"),
            ("carol", "globex"),
            ("dave", "acme"),
            ("erin", "acme"),
            ("frank", "acme"),
            ("grace", "acme"),
            ("heidi", "acme"),
            ("ivan", "acme"),
            ("judy", "acme"),
            ("mallory", "acme"),
            ("peggy", "acme"),
            ("root", "acme"),
            ("trent", "acme"),
            ("wendy", "walled"),
            ("walter", "granting"),
        ] {
            self.add_user(name, organization);
        }
        let mallory = self.id("mallory");
        self.fleet.organization_members.retain(|member| member.user_id != mallory);
        self.user("dave").status = UserStatus::Suspended;
        self.user("erin").status = UserStatus::Dormant;
        self.user("frank").login_type = LoginType::Oidc;
        self.user("grace").login_type = LoginType::Oidc;
        self.user("heidi").login_type = LoginType::Github;
        self.user("ivan").login_type = LoginType::None;
        self.user("root").rbac_roles = vec!["owner".to_owned()];
        self.user("trent").rbac_roles = vec!["template-admin".to_owned()];
        self.member("judy").roles = vec!["organization-admin".to_owned()];
        self.member("peggy").roles = vec!["app-opener".to_owned(), "no-such-role".to_owned()];
        self.add_user("ghost", "acme");
        self.user("ghost").deleted = true;
        self.add_system_users();

        let acme = self.id("acme");
        // Everyone is a member of this group, without a row.
        self.fleet.group("Everyone", acme, &[]);
        self.fleet.groups.last_mut().unwrap().id = acme;
        let friends = self.fleet.group("friends", acme, &[self.id("frank")]);
        self.ids.insert("friends".to_owned(), friends);
        self.add_links();
        self.add_roles();
    }

    fn add_user(&mut self, name: &str, organization: &str) {
        let id = self.fleet.user(name, self.id(organization));
        self.ids.insert(name.to_owned(), id);
    }

    fn user(&mut self, name: &str) -> &mut User {
        self.fleet.users.iter_mut().find(|row| row.username == name).unwrap()
    }

    fn member(&mut self, name: &str) -> &mut OrganizationMember {
        let user = self.id(name);
        self.fleet.organization_members.iter_mut().find(|row| row.user_id == user).unwrap()
    }

    /// The owner of prebuilt workspaces, and an account that is not a person
    fn add_system_users(&mut self) {
        if self.since(Release::V2_22) {
            self.add_user("prebuilds", "acme");
            self.member("prebuilds").user_id = PREBUILDS;
            self.ids.insert("prebuilds".to_owned(), PREBUILDS);
            let row = self.user("prebuilds");
            (row.id, row.is_system, row.login_type) = (PREBUILDS, true, LoginType::None);
        }
        if self.since(Release::V2_32) {
            self.add_user("robot", "walled");
            self.user("robot").email.clear();
            self.user("robot").login_type = LoginType::None;
        }
    }

    /// The users' links to identity providers
    fn add_links(&mut self) {
        // The provider token of Frank does not expire. That of Grace has expired and cannot be
        // refreshed. Heidi does not have a link.
        let ended = json!(self.now - Duration::hours(1));
        for (user, expiry) in [("frank", json!("0001-01-01T00:00:00Z")), ("grace", ended)] {
            self.rows.add(
                "user_links",
                json!({
                    "user_id": self.id(user), "login_type": "oidc", "linked_id": user,
                    "oauth_access_token": "secret", "oauth_refresh_token": "",
                    "oauth_expiry": expiry,
                }),
            );
        }
    }

    /// A custom role, and the built-in roles that newer releases store as rows
    fn add_roles(&mut self) {
        let mut roles = vec![json!({
            "name": "app-opener", "display_name": "", "organization_id": self.id("acme"),
            "org_permissions": grants("workspace", &["application_connect"]),
        })];
        let mut system = |name: &str, organization: &str, workspaces: bool| {
            let mut own = grants("api_key", &["create", "read", "update", "delete"]);
            if workspaces {
                own.extend(grants("workspace", WORKSPACE));
                own.extend(grants("workspace_dormant", WORKSPACE_DORMANT));
            }
            roles.push(json!({
                "name": name, "display_name": "", "organization_id": self.id(organization),
                "is_system": true,
                "org_permissions": grants("organization", &["read"]),
                "member_permissions": own,
            }));
        };
        if self.release >= Release::V2_30 {
            for (organization, workspaces) in
                [("acme", true), ("globex", true), ("walled", false), ("granting", false)]
            {
                system("organization-member", organization, workspaces);
                if self.release >= Release::V2_32 {
                    system("organization-service-account", organization, true);
                }
            }
        }
        for role in roles {
            self.rows.add("custom_roles", role);
        }
    }

    /// Sessions of every kind
    pub(super) fn add_keys(&mut self) {
        let users = ["alice", "bob", "carol", "dave", "erin", "judy", "mallory", "peggy", "root"];
        for user in users.into_iter().chain(["trent", "wendy", "walter"]) {
            self.add_key(user, user, json!({}));
        }
        for (user, login_type) in
            [("frank", "oidc"), ("grace", "oidc"), ("heidi", "github"), ("ivan", "token")]
        {
            self.add_key(user, user, json!({ "login_type": login_type }));
        }
        if self.since(Release::V2_32) {
            let named = json!({ "login_type": "token", "token_name": "bot" });
            self.add_key("robot", "robot", named);
        }
        let dev = format!("workspace:{}", self.id("alice/dev"));
        let other = format!("workspace:{}", self.id("alice/offline"));
        let connect = "workspace:application_connect";
        let mut keys = vec![
            ("alice, ended", json!({ "expires_at": self.now - Duration::seconds(1) })),
            ("alice, by token", json!({ "login_type": "token", "token_name": "laptop" })),
            ("alice, apps", json!({ "scopes": ["application_connect"] })),
        ];
        if self.since(Release::V2_27) {
            keys.extend([
                ("alice, may connect", json!({ "scopes": [connect] })),
                ("alice, may read", json!({ "scopes": ["workspace:read", "template:read"] })),
                ("alice, may both", json!({ "scopes": ["workspace:read", connect] })),
                ("alice, access", json!({ "scopes": ["coder:workspaces.access"] })),
                ("alice, all and more", json!({ "scopes": ["coder:all", "workspace:read"] })),
                ("alice, dev", json!({ "allow_list": [dev] })),
                ("alice, other", json!({ "allow_list": [other] })),
                ("alice, both", json!({ "allow_list": [other, dev] })),
                ("alice, workspaces", json!({ "allow_list": ["workspace:*"] })),
                ("alice, templates", json!({ "allow_list": ["template:*"] })),
                ("alice, apps of dev", json!({ "scopes": [connect], "allow_list": [dev] })),
                ("alice, apps of other", json!({ "scopes": [connect], "allow_list": [other] })),
            ]);
        }
        for (name, unusual) in keys {
            self.add_key(name, "alice", unusual);
        }
        self.add_oauth2_keys();
    }

    /// Sessions that were issued to another application
    fn add_oauth2_keys(&mut self) {
        let audiences = [
            ("alice, by app", Some(Value::Null)),
            ("alice, by app for us", Some(Self::ACCESS_URL.into())),
            ("alice, by app for others", Some("https://elsewhere.test".into())),
            ("alice, by app without token", None),
        ];
        for (name, audience) in audiences {
            self.add_key(name, "alice", json!({ "login_type": "oauth2_provider_app" }));
            let key = self.token(name).split('-').next().unwrap_or_default();
            let mut token = json!({ "api_key_id": key });
            let Some(audience) = audience else { continue };
            if self.since(Release::V2_25) {
                token["audience"] = audience;
            }
            self.rows.add("oauth2_provider_app_tokens", token);
        }
    }

    /// Settings of organizations and accounts, in the releases that have them
    pub(super) fn add_settings(&mut self) {
        let (granting, robot) = (json!(self.id("granting")), self.ids.get("robot").copied());
        let defaults = self.since(Release::V2_35);
        self.rows.change("organizations", |row| {
            if defaults && row["id"] == granting {
                let roles = json!(["organization-workspace-access"]);
                row.insert("default_org_member_roles".to_owned(), roles);
            }
        });
        self.rows.change("users", |row| {
            if robot.is_some_and(|robot| row["id"] == json!(robot)) {
                row.insert("is_service_account".to_owned(), json!(true));
            }
        });
    }
}

/// Permissions as they are stored
fn grants(kind: &str, actions: &[&str]) -> Vec<Value> {
    let grant = |action: &&str| json!({ "negate": false, "resource_type": kind, "action": action });
    actions.iter().map(grant).collect()
}

const WORKSPACE: &[&str] = &[
    "application_connect",
    "create",
    "create_agent",
    "delete",
    "delete_agent",
    "read",
    "share",
    "ssh",
    "start",
    "stop",
    "update",
];

const WORKSPACE_DORMANT: &[&str] =
    &["create", "create_agent", "delete", "delete_agent", "read", "stop", "update"];

/// The id is part of the control plane's code
const PREBUILDS: Uuid = Uuid::from_u128(0xc42f_df75_3097_471c_8c33_fb52_454d_81c0);
