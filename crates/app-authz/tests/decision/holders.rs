//! Decisions for the holders of keys

use std::time::SystemTime;

use app_authz::app::{AccessMethod, Reason, SharingLevel};
use app_authz::credential::{ApiKey, KeyHolder, UserStatus};
use app_authz::rbac::{Acl, AllowList, BuiltInRoles, OwnWorkspaces, Switches, WorkspaceSharing};
use app_authz::{Rules, UserId, decide};
use uuid::Uuid;

use super::{ACME, BETA, LEVELS, OWNER, VISITOR, WORKSPACE, letter, target};

/// A key of the user, who has these roles beside `member`
fn holder(user: u128, roles: &[String], own_workspaces: OwnWorkspaces) -> KeyHolder {
    let key = ApiKey::new("0123456789", [], UserId(Uuid::from_u128(user)), SystemTime::UNIX_EPOCH);
    let roles = roles.iter().map(|name| (name.parse().unwrap(), WorkspaceSharing::Everyone));
    KeyHolder::new(key, UserStatus::Active, "someone")
        .with_roles(roles)
        .with_own_workspaces(own_workspaces)
}

/// Up to v2.27 an app for signed-in users also opened for users without an organization
#[test]
fn a_user_without_an_organization_opens_what_the_release_allows() {
    use OwnWorkspaces::{Anywhere, InOrganizations};

    let at = |role: &str, organization: u128| format!("{role}:{}", Uuid::from_u128(organization));
    let member = |organization| vec![at("organization-member", organization)];
    let scope = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<_>>();
    let (all, connect) = (scope(&["all"]), scope(&["application_connect"]));
    let (ssh, read) = (scope(&["workspace:ssh"]), scope(&["workspace:read", "template:read"]));
    let this = format!("workspace:{}", Uuid::from_u128(WORKSPACE));
    let everything = vec!["*:*".to_owned()];
    let subdomain = AccessMethod::Subdomain;
    for (own, user, roles, scopes, allow_list, method, expected) in [
        // Levels owner, organization, authenticated, public
        (InOrganizations, VISITOR, vec![], &all, &everything, subdomain, "d d d A"),
        (Anywhere, VISITOR, vec![], &all, &everything, subdomain, "d d A A"),
        (Anywhere, VISITOR, vec![], &connect, &everything, subdomain, "d d A A"),
        (Anywhere, VISITOR, vec![], &ssh, &everything, subdomain, "d d d A"),
        (Anywhere, VISITOR, vec![], &read, &everything, subdomain, "d d d A"),
        (Anywhere, VISITOR, vec![], &all, &vec![this.clone()], subdomain, "d d d A"),
        (Anywhere, VISITOR, vec![], &all, &vec!["workspace:*".to_owned()], subdomain, "d d A A"),
        (Anywhere, VISITOR, vec![], &all, &vec!["template:*".to_owned()], subdomain, "d d d A"),
        (Anywhere, VISITOR, vec![], &all, &everything, AccessMethod::Terminal, "d d A A"),
        (Anywhere, VISITOR, vec![], &connect, &everything, AccessMethod::Terminal, "d d d A"),
        // By path the level is always the owner's.
        (Anywhere, VISITOR, vec![], &all, &everything, AccessMethod::Path, "d d1 d1 d1"),
        // An owner who left the organization is treated like other users outside of it.
        (InOrganizations, OWNER, vec![], &all, &everything, subdomain, "d d d A"),
        (Anywhere, OWNER, vec![], &all, &everything, subdomain, "d d A A"),
        // The release makes no difference for members.
        (InOrganizations, VISITOR, member(ACME), &all, &everything, subdomain, "d A A A"),
        (Anywhere, VISITOR, member(ACME), &all, &everything, subdomain, "d A A A"),
        (InOrganizations, VISITOR, member(BETA), &all, &everything, subdomain, "d d A A"),
        (Anywhere, VISITOR, member(BETA), &all, &everything, subdomain, "d d A A"),
        (InOrganizations, OWNER, member(ACME), &all, &everything, subdomain, "A A A A"),
        (Anywhere, OWNER, member(ACME), &all, &everything, subdomain, "A A A A"),
        (Anywhere, OWNER, member(ACME), &all, &vec![this], subdomain, "A A A A"),
    ] {
        let mut holder = holder(user, &roles, own);
        holder.key.scopes.clone_from(scopes);
        holder.key.allow_list = AllowList::parse(allow_list).unwrap();
        let subject = holder.subject(&BuiltInRoles::new(Switches::default()));
        let letters = LEVELS.map(|level| {
            let target = target(method, level, false, Acl::NONE);
            letter(&decide(&target, Some(&subject), Rules::default()))
        });
        let case = format!("{own:?} {user:x} {roles:?} {scopes:?} {allow_list:?} {method}");
        assert_eq!(letters.join(" "), expected, "{case}");
    }
}

#[test]
fn a_key_that_permits_nothing_is_denied_for_that_reason() {
    let member = [format!("organization-member:{}", Uuid::from_u128(ACME))];
    let decided = |spoil: fn(&mut ApiKey), method, level| {
        let mut holder = holder(OWNER, &member, OwnWorkspaces::default());
        spoil(&mut holder.key);
        let subject = holder.subject(&BuiltInRoles::new(Switches::default()));
        let target = target(method, level, false, Acl::NONE);
        decide(&target, Some(&subject), Rules::default()).map(drop).map_err(|d| d.reason())
    };
    let spoils: [fn(&mut ApiKey); 2] =
        [|key| key.scopes.clear(), |key| key.allow_list = AllowList::default()];
    for spoil in spoils {
        for level in LEVELS {
            let expected =
                if level == SharingLevel::Public { Ok(()) } else { Err(Reason::NoScope) };
            assert_eq!(decided(spoil, AccessMethod::Subdomain, level), expected, "{level}");
        }
        for method in [AccessMethod::Path, AccessMethod::Terminal] {
            assert_eq!(decided(spoil, method, SharingLevel::Owner), Err(Reason::NoScope));
        }
    }
    let narrow: fn(&mut ApiKey) = |key| key.scopes = vec!["template:read".parse().unwrap()];
    let owner = decided(narrow, AccessMethod::Subdomain, SharingLevel::Owner);
    assert_eq!(owner, Err(Reason::NotShared));
}
