use std::sync::Arc;

use app_authz::app::Workspace;
use app_authz::id::{GroupId, JobId, OrganizationId};
use app_authz::jobs::JobKind;
use app_authz::rbac::{
    Action, AllowEntry, AllowList, BuiltInRoles, Levels, Permission, Permissions, ResourceType,
    Role, RoleName, Scope, ScopeName, Subject, Switches, WorkspaceSharing,
};
use app_authz::{UserId, WorkspaceId};
use serde_json::{Value, json};
use store::MemoryStore;
use store::authorized::{Authorized, MAX_PAGE, Readable, Rows};
use store::fleet::{Fleet, JobType, TemplateVersion, Transition};
use testkit::Database;
use uuid::Uuid;

contract! {
    since V2_24;

    fn a_workspace_is_read_by_whom_its_roles_let(store, fleet: two_organizations) {
        let [dev, other] = [0, 1].map(|n| WorkspaceId(fleet.workspaces[n].id));
        let deleted = WorkspaceId(fleet.workspaces[2].id);
        for (subject, reads) in [
            (member(&fleet, 0), [true, false]),
            (member(&fleet, 1), [false, true]),
            (Subject::system_restricted(), [true, true]),
            (nobody(), [false, false]),
        ] {
            let authorized = Authorized::new(&store, &subject);
            for (id, reads) in [dev, other].into_iter().zip(reads) {
                let found = authorized.workspace(id).await.unwrap();
                assert_eq!(found.map(|found| found.id), reads.then_some(id));
            }
            for gone in [deleted, WorkspaceId(Uuid::new_v4())] {
                assert_eq!(authorized.workspace(gone).await.unwrap(), None);
            }
        }
    }

    fn pages_follow_each_other_until_all_is_seen(store, fleet: many_workspaces) {
        let subject = member(&fleet, 0);
        let authorized = Authorized::new(&store, &subject);
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = authorized.workspaces(after, 3).await.unwrap();
            assert!(page.rows.len() <= 3);
            seen.extend(page.rows.iter().map(|workspace| workspace.id.0));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let own = fleet.users[0].id;
        let mut expected: Vec<_> =
            fleet.workspaces.iter().filter(|w| w.owner_id == own).map(|w| w.id).collect();
        expected.sort_unstable();
        assert_eq!((seen.len(), seen), (10, expected));
    }

    fn a_broken_access_list_grants_nothing(store, fleet: broken_lists) {
        let subject = member(&fleet, 1);
        let authorized = Authorized::new(&store, &subject);
        let page = authorized.workspaces(None, MAX_PAGE).await.unwrap();
        let found: Vec<_> = page.rows.iter().map(|workspace| &*workspace.name).collect();
        assert_eq!(found, ["listed"]);
        for workspace in &fleet.workspaces {
            let found = authorized.workspace(WorkspaceId(workspace.id)).await.unwrap();
            assert_eq!(found.is_some(), workspace.name == "listed", "{}", workspace.name);
        }
    }

    fn a_job_is_readable_with_what_it_was_started_for(store, fleet: jobs) {
        let [build, import, dry_run, bare, unread] = job_ids(&fleet);
        for (subject, read) in [
            (Subject::system_restricted(), vec![build, import, dry_run, bare, unread]),
            (member(&fleet, 0), vec![build]),
            (member(&fleet, 1), vec![import, dry_run]),
            (template_admin(), vec![build, import, dry_run, unread]),
            (nobody(), vec![]),
        ] {
            let authorized = Authorized::new(&store, &subject);
            for id in [build, import, dry_run, bare, unread] {
                let found = authorized.provisioner_job(id).await.unwrap();
                assert_eq!(found.is_some(), read.contains(&id), "{:?} {id}", subject.id());
            }
            assert_eq!(authorized.provisioner_job(JobId(Uuid::new_v4())).await.unwrap(), None);
        }
        let system = Subject::system_restricted();
        let record = Authorized::new(&store, &system).provisioner_job(import).await.unwrap();
        let record = record.unwrap();
        assert_eq!(record.job.kind, JobKind::TemplateVersionImport);
        assert_eq!(record.organization.0, fleet.organizations[0].id);
        assert_eq!(record.error.as_deref(), Some("no such file"));
        let completed_at = fleet.provisioner_jobs[1].completed_at.unwrap();
        assert_eq!(record.completed_at, Some(completed_at.into()));
    }
}

/// What the database finds, what the filter says and what the rule says are the same
#[tokio::test]
async fn a_list_is_what_is_allowed_one_by_one() {
    let mut random = Random(0x5eed);
    let fleet = random_fleet(&mut random);
    let memory = MemoryStore::default();
    memory.load(&fleet);
    let postgres = Database::new().await.store().await;
    postgres.load(&fleet).await.unwrap();
    let system = Subject::system_restricted();
    let all: Vec<Workspace> = {
        let authorized = Authorized::new(&memory, &system);
        let page = authorized.workspaces(None, MAX_PAGE).await.unwrap();
        page.rows
    };
    assert!(all.len() > 100);

    let (mut some, mut none) = (0, 0);
    for _ in 0..400 {
        let subject = random_subject(&fleet, &mut random);
        let kinds = [ResourceType::Workspace, ResourceType::WorkspaceDormant];
        let [active, dormant] = kinds.map(|kind| subject.filter(&Action::Read, &kind));
        let readable = Readable { active, dormant };
        let matches = |workspace: &&Workspace| readable.matches(workspace);
        let allowed =
            |workspace: &&Workspace| subject.is_allowed(&Action::Read, &workspace.object());
        let expected: Vec<&Workspace> = all.iter().filter(allowed).collect();
        assert_eq!(all.iter().filter(matches).collect::<Vec<_>>(), expected, "{subject:?}");
        let listed = list(&memory, &subject).await;
        assert_eq!(listed.iter().collect::<Vec<_>>(), expected, "{subject:?}");
        let in_sql = postgres.workspaces(&readable, None, MAX_PAGE).await.unwrap();
        assert_eq!(in_sql.iter().collect::<Vec<_>>(), expected, "{subject:?}");
        assert_eq!(list(&postgres, &subject).await, in_sql);
        if expected.is_empty() { none += 1 } else { some += 1 }
    }
    assert!(some > 100 && none > 20, "{some} with workspaces, {none} without");
}

async fn list(store: &impl Rows, subject: &Subject) -> Vec<Workspace> {
    let page = Authorized::new(store, subject).workspaces(None, MAX_PAGE).await.unwrap();
    assert_eq!(page.next, None);
    page.rows
}

fn subject(id: Uuid, roles: Vec<Arc<Role>>, scope: Scope) -> Subject {
    Subject::new(UserId(id), roles, scope)
}

/// A user with the roles that every member of the organization has
fn member(fleet: &Fleet, user: usize) -> Subject {
    let row = &fleet.organization_members[user];
    let organization = OrganizationId(row.organization_id);
    let name = RoleName::in_organization("organization-member", organization).unwrap();
    subject(row.user_id, built_in(&[name]), Scope::all())
}

fn template_admin() -> Subject {
    let name = RoleName::site("template-admin").unwrap();
    subject(Uuid::new_v4(), built_in(&[name]), Scope::all())
}

fn nobody() -> Subject {
    subject(Uuid::new_v4(), Vec::new(), Scope::all())
}

fn built_in(names: &[RoleName]) -> Vec<Arc<Role>> {
    let names = names.iter().map(|name| (name, WorkspaceSharing::default()));
    BuiltInRoles::new(Switches::default()).expand(names, &[])
}

/// Alice of acme and Bob of globex, with a workspace each, and a deleted one
fn two_organizations() -> Fleet {
    let mut fleet = Fleet::default();
    for (user, organization) in [("alice", "acme"), ("bob", "globex")] {
        let organization = fleet.organization(organization);
        let user = fleet.user(user, organization);
        fleet.workspace(user, "dev");
    }
    let alice = fleet.users[0].id;
    fleet.workspace(alice, "gone");
    fleet.workspaces[2].deleted = true;
    fleet
}

fn many_workspaces() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let [alice, bob] = ["alice", "bob"].map(|name| fleet.user(name, acme));
    for n in 0..10 {
        fleet.workspace(alice, &format!("alices-{n}"));
        fleet.workspace(bob, &format!("bobs-{n}"));
    }
    fleet
}

/// Workspaces of Alice's that are shared with Bob, or would be if their lists were lists
fn broken_lists() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let [alice, bob] = ["alice", "bob"].map(|name| fleet.user(name, acme));
    let key = bob.to_string();
    for (name, list) in [
        ("listed", json!({&key: ["read"]})),
        ("no-id", json!({&key: ["read"], "bob": ["read"]})),
        ("no-list", json!({&key: ["read"], acme.to_string(): "read"})),
        ("no-text", json!({&key: ["read", 7]})),
        ("keys", json!({&key: {"read": true}})),
        ("nested", json!({&key: {"permissions": {"read": true}}})),
        ("not-an-object", json!([&key])),
    ] {
        fleet.workspace(alice, name);
        fleet.workspaces.last_mut().unwrap().user_acl = list;
    }
    fleet
}

/// A build of Alice's, an import and a dry run of a template that is shared with Bob, an
/// import without a version, and one whose version belongs to no template
fn jobs() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let [alice, bob] = ["alice", "bob"].map(|name| fleet.user(name, acme));
    let workspace = fleet.workspace(alice, "dev");
    fleet.build(workspace, Transition::Start);
    for job in [
        JobType::TemplateVersionImport,
        JobType::TemplateVersionDryRun,
        JobType::TemplateVersionImport,
        JobType::TemplateVersionImport,
    ] {
        fleet.bare_job(job, acme);
    }
    let template = &mut fleet.templates[0];
    template.user_acl = json!({bob.to_string(): ["read"]});
    let version = |template_id, job_id| TemplateVersion {
        id: Uuid::new_v4(),
        template_id,
        organization_id: acme,
        job_id,
    };
    let read = version(Some(template.id), fleet.provisioner_jobs[1].id);
    let unread = version(None, fleet.provisioner_jobs[4].id);
    fleet.provisioner_jobs[1].error = Some("no such file".to_owned());
    fleet.provisioner_jobs[2].input = json!({"template_version_id": read.id});
    fleet.template_versions = vec![read, unread];
    fleet
}

fn job_ids(fleet: &Fleet) -> [JobId; 5] {
    [0, 1, 2, 3, 4].map(|n| JobId(fleet.provisioner_jobs[n].id))
}

/// Numbers that are the same in every run
struct Random(u64);

impl Random {
    /// A number below `end`
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ mixed >> 31) >> 33).unwrap() % end
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }
}

fn random_fleet(random: &mut Random) -> Fleet {
    let mut fleet = Fleet::default();
    let organizations = ["acme", "globex", "initech"].map(|name| fleet.organization(name));
    let users: Vec<Uuid> =
        (0..4).map(|n| fleet.user(&format!("user-{n}"), organizations[n % 3])).collect();
    for n in 0..4 {
        fleet.group(&format!("group-{n}"), organizations[n % 3], &[]);
    }
    let groups: Vec<Uuid> = fleet.groups.iter().map(|group| group.id).collect();
    for n in 0..150 {
        fleet.workspace(random.of(&users), &format!("workspace-{n}"));
        let workspace = fleet.workspaces.last_mut().unwrap();
        workspace.organization_id = random.of(&organizations);
        workspace.dormant_at = random.one_in(4).then_some(workspace.last_used_at);
        workspace.deleted = random.one_in(10);
        if random.one_in(3) {
            workspace.user_acl = random_list(&users, random);
        }
        if random.one_in(3) {
            let ids: Vec<Uuid> = groups.iter().chain(&organizations).copied().collect();
            workspace.group_acl = random_list(&ids, random);
        }
    }
    fleet
}

fn random_list(ids: &[Uuid], random: &mut Random) -> Value {
    let mut list = json!({});
    for _ in 0..=random.below(2) {
        let actions = random.of(&[json!(["read"]), json!(["*"]), json!(["ssh"]), json!([])]);
        let entry = match random.one_in(2) {
            true => json!({"permissions": actions}),
            false => actions,
        };
        list[random.of(ids).to_string()] = entry;
    }
    list
}

fn random_subject(fleet: &Fleet, random: &mut Random) -> Subject {
    let organizations: Vec<_> =
        fleet.organizations.iter().map(|row| OrganizationId(row.id)).collect();
    let user = random.of(&fleet.users).id;
    let mut roles = Vec::new();
    for n in 0..random.below(3) {
        let levels = random_levels(&organizations, random);
        roles.push(Arc::new(Role::new(RoleName::site(&format!("role-{n}")).unwrap(), levels)));
    }
    for name in ["organization-member", "organization-admin", "organization-auditor"] {
        if random.one_in(3) {
            let name = RoleName::in_organization(name, random.of(&organizations)).unwrap();
            roles.extend(built_in(&[name]));
        }
    }
    let allow_list = match random.below(4) {
        0 => AllowList::from_iter((0..40).map(|_| {
            let kind = random.of(&[ResourceType::Workspace, ResourceType::WorkspaceDormant]);
            AllowEntry::object(kind, random.of(&fleet.workspaces).id)
        })),
        1 => AllowList::from_iter([AllowEntry::all(ResourceType::Workspace)]),
        _ => AllowList::everything(),
    };
    let scope = match random.below(4) {
        0 => Scope::new("odd", random_levels(&organizations, random), allow_list),
        1 => {
            let read = ScopeName::Permission(ResourceType::Workspace, Action::Read.into());
            Scope::of_credential(&[read], &allow_list).unwrap()
        }
        _ => Scope::of_credential(&[ScopeName::All], &allow_list).unwrap(),
    };
    let groups = fleet.groups.iter().map(|group| GroupId(group.id));
    let groups: Vec<_> = groups.filter(|_| random.one_in(3)).collect();
    subject(user, roles, scope).with_groups(groups)
}

fn random_levels(organizations: &[OrganizationId], random: &mut Random) -> Levels {
    let mut levels = Levels { site: random_permissions(8, random), ..Levels::default() };
    for organization in organizations {
        if random.one_in(2) {
            let (org, member) = (random_permissions(4, random), random_permissions(2, random));
            levels = levels.with_organization(*organization, org, member);
        }
    }
    levels
}

/// One permission in so many cases
fn random_permissions(rarity: usize, random: &mut Random) -> Permissions {
    let kinds = [ResourceType::Workspace, ResourceType::WorkspaceDormant, ResourceType::Template];
    let mut permissions = Vec::new();
    if random.one_in(rarity) {
        let kind = random.of(&kinds);
        permissions.push(match random.one_in(4) {
            true => Permission::deny(kind, Action::Read),
            false => Permission::grant(kind, Action::Read),
        });
    }
    permissions.into_iter().collect()
}
