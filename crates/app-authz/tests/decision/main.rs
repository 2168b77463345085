//! Who may open an app: every case of the vectors, and the rule as one table

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests")]

mod holders;
mod people;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::SystemTime;

use app_authz::app::{
    AccessMethod, Agent, App, Contact, Question, Reason, SharingLevel, Transition,
    UncheckedRequest, Warning, Workspace, WorkspaceFacts, decide_with,
};
use app_authz::id::{AppId, GroupId, OrganizationId};
use app_authz::rbac::{
    AccessList, Acl, Action, AllowEntry, AllowList, BuiltInRoles, Levels, Permission, ResourceType,
    Role, RoleName, Scope, Subject, Switches, WorkspaceSharing,
};
use app_authz::{
    AgentId, AppRequest, Denial, Error, Rules, Target, UserId, WorkspaceId, decide, resolve,
};
use proptest::prelude::*;
use proptest::sample::select;
use serde::Deserialize;
use uuid::Uuid;

const WORKSPACE: u128 = 0x33333333_0000_4000_a000_000000000003;
const OWNER: u128 = 0x11111111_0000_4000_a000_000000000001;
const VISITOR: u128 = 0x22222222_0000_4000_a000_000000000002;
const GROUP: u128 = 0x55555555_0000_4000_a000_000000000005;
const ACME: u128 = 0xaaaaaaaa_0000_4000_a000_00000000000a;
const BETA: u128 = 0xbbbbbbbb_0000_4000_a000_00000000000b;

const METHODS: [AccessMethod; 3] =
    [AccessMethod::Path, AccessMethod::Subdomain, AccessMethod::Terminal];

fn request(method: AccessMethod) -> AppRequest {
    let agent = Uuid::from_u128(4).to_string();
    let request = match method {
        AccessMethod::Terminal => UncheckedRequest {
            access_method: method.to_string(),
            agent_name_or_id: agent,
            ..UncheckedRequest::default()
        },
        AccessMethod::Path | AccessMethod::Subdomain => UncheckedRequest {
            access_method: method.to_string(),
            username_or_id: "ann".to_owned(),
            workspace_name_or_id: "dev".to_owned(),
            app_slug_or_port: "code".to_owned(),
            ..UncheckedRequest::default()
        },
    };
    request.try_into().unwrap()
}

fn target(method: AccessMethod, sharing: SharingLevel, dormant: bool, acl: Acl) -> Target<'static> {
    target_of(request(method), sharing, dormant, acl)
}

fn target_of(asked: AppRequest, sharing: SharingLevel, dormant: bool, acl: Acl) -> Target<'static> {
    let owner = UserId(Uuid::from_u128(OWNER));
    let workspace = Workspace::new(
        (WorkspaceId(Uuid::from_u128(WORKSPACE)), "dev"),
        (owner, "ann"),
        OrganizationId(Uuid::from_u128(ACME)),
    );
    let workspace = workspace.with_dormant(dormant).with_acl(acl);
    let agent = AgentId(Uuid::from_u128(4));
    let app = App::new(AppId(Uuid::from_u128(5)), agent, "code", "http://127.0.0.1:8080");
    let contact = Contact::new(SystemTime::UNIX_EPOCH);
    let facts = WorkspaceFacts::new(owner, workspace, Transition::Start, None)
        .with_agents([Agent::new(agent, "main", contact)])
        .with_apps([app]);
    let found = resolve(kept(asked), Some(kept(facts)), Rules::default());
    found.unwrap().with_sharing(sharing)
}

/// The facts of a target, leaked so that they live as long as the test
fn kept<T>(fact: T) -> &'static T {
    Box::leak(Box::new(fact))
}

/// The workspace's access lists for the caller with that name
fn acl(caller: &str, actions: &[String]) -> Acl {
    let list = |id: u128| [(Uuid::from_u128(id), actions)].into_iter().collect::<AccessList>();
    match caller {
        _ if caller.starts_with("shared-by-user") => Acl::new(list(VISITOR), AccessList::EMPTY),
        _ if caller.starts_with("shared-by-group") => Acl::new(AccessList::EMPTY, list(GROUP)),
        _ => Acl::NONE,
    }
}

fn roles(names: &[String], switches: Switches) -> Vec<Arc<Role>> {
    let names: Vec<RoleName> = names.iter().map(|name| name.parse().unwrap()).collect();
    BuiltInRoles::new(switches)
        .expand(names.iter().map(|name| (name, WorkspaceSharing::Everyone)), &[])
}

/// `vectors/README.md` describes it
#[derive(Deserialize)]
struct Vectors {
    acl_actions: Vec<String>,
    callers: BTreeMap<String, Caller>,
    scopes: BTreeMap<String, ScopeFields>,
    cases: Vec<String>,
}

#[derive(Deserialize)]
struct Caller {
    id: Uuid,
    groups: Vec<Uuid>,
    roles: Vec<String>,
}

#[derive(Deserialize)]
struct ScopeFields {
    permissions: Permissions,
    allow_list: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Permissions {
    Listed(Vec<String>),
    Described(String),
}

/// Sixteen decisions: one for each setting of path apps and each sharing level
struct Case<'a> {
    caller: &'a str,
    scope: Option<&'a str>,
    method: AccessMethod,
    disable_owner_workspace_exec: bool,
    dormant: bool,
    /// By setting, as in [`SETTINGS`], then by level, as in [`LEVELS`]
    answers: [[&'a str; 4]; 4],
}

/// `allow_path_app_sharing` and `allow_path_app_site_owner_access`
const SETTINGS: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];
/// All levels, from the narrowest to the widest
const LEVELS: [SharingLevel; 4] = [
    SharingLevel::Owner,
    SharingLevel::Organization,
    SharingLevel::Authenticated,
    SharingLevel::Public,
];

impl<'a> Case<'a> {
    fn parse(line: &'a str) -> Self {
        let fields: Vec<&str> = line.split(" | ").collect();
        let [caller, scope, method, switches, ref answers @ ..] = fields[..] else {
            panic!("{line}");
        };
        let is_set = |name| switches.split(',').any(|switch| switch == name);
        let of_setting = |answers: &&'a str| {
            let answers: Vec<&str> = answers.split(' ').collect();
            <[&str; 4]>::try_from(answers).unwrap()
        };
        let answers: Vec<[&str; 4]> = answers.iter().map(of_setting).collect();
        Self {
            caller,
            scope: (scope != "-").then_some(scope),
            method: *METHODS.iter().find(|known| known.to_string() == method).unwrap(),
            disable_owner_workspace_exec: is_set("exec-disabled"),
            dormant: is_set("dormant"),
            answers: answers.try_into().unwrap(),
        }
    }
}

impl ScopeFields {
    fn scope(&self) -> Scope {
        let permissions: Vec<Permission> = match &self.permissions {
            Permissions::Listed(texts) => texts.iter().map(|text| text.parse().unwrap()).collect(),
            Permissions::Described(text) => {
                assert_eq!(text, "every type except user");
                let types = ResourceType::LISTED.iter().filter(|&kind| *kind != ResourceType::User);
                types.map(|kind| format!("{kind}:*").parse().unwrap()).collect()
            }
        };
        let levels = Levels::site(permissions.into_iter().collect());
        Scope::new("scope", levels, AllowList::parse(&self.allow_list).unwrap())
    }
}

// scenario 186, 187, 189, 190, 192, 193, 195, 196, 198, 199
#[test]
fn every_case_of_the_vectors_is_decided_as_expected() {
    let vectors: Vectors = serde_json::from_str(include_str!("../vectors/rbac/apps.json")).unwrap();
    let mut decisions = 0;
    for line in &vectors.cases {
        let case = Case::parse(line);
        let switches =
            Switches::default().disable_owner_workspace_access(case.disable_owner_workspace_exec);
        let subject = case.scope.map(|scope| {
            let caller = &vectors.callers[case.caller];
            let roles = roles(&caller.roles, switches);
            Subject::new(UserId(caller.id), roles, vectors.scopes[scope].scope())
                .with_groups(caller.groups.iter().copied().map(GroupId))
        });
        for ((sharing, site_owner), answers) in SETTINGS.into_iter().zip(case.answers) {
            let rules = Rules::default()
                .allow_path_app_sharing(sharing)
                .allow_path_app_site_owner_access(site_owner);
            for (level, answer) in LEVELS.into_iter().zip(answers) {
                let acl = acl(case.caller, &vectors.acl_actions);
                let target = target(case.method, level, case.dormant, acl);
                let decision = decide(&target, subject.as_ref(), rules);
                if let Ok(permit) = &decision {
                    assert_eq!(permit.visitor(), subject.as_ref().map(Subject::id));
                }
                assert_eq!(letter(&decision), answer, "{line}\n{rules:?} {level}: {decision:?}");
                decisions += 1;
            }
        }
    }
    assert_eq!(decisions, 10_800);
}

/// The id of a user, and the names of roles
type Identity = (u128, Vec<String>);

/// The callers of the printed table; an anonymous one has no id
fn callers() -> Vec<(&'static str, Option<Identity>)> {
    let at = |role: &str, organization: u128| format!("{role}:{}", Uuid::from_u128(organization));
    let site = |role: &str| role.to_owned();
    let member = |organization| at("organization-member", organization);
    let visitor = |roles: Vec<String>| Some((VISITOR, [vec![site("member")], roles].concat()));
    vec![
        ("anonymous", None),
        ("workspace-owner", Some((OWNER, vec![site("member"), member(ACME)]))),
        ("workspace-owner-left-org", Some((OWNER, vec![site("member")]))),
        ("same-org-member", visitor(vec![member(ACME)])),
        ("other-org-member", visitor(vec![member(BETA)])),
        ("no-org-user", visitor(vec![])),
        ("site-owner", visitor(vec![site("owner")])),
        ("site-owner-same-org", visitor(vec![site("owner"), member(ACME)])),
        ("org-admin-same-org", visitor(vec![member(ACME), at("organization-admin", ACME)])),
        ("template-admin", visitor(vec![site("template-admin")])),
        ("auditor", visitor(vec![site("auditor")])),
        ("shared-by-user-acl-same-org", visitor(vec![member(ACME)])),
        ("shared-by-user-acl-other-org", visitor(vec![member(BETA)])),
        ("shared-by-group-acl-same-org", visitor(vec![member(ACME)])),
    ]
}

fn scopes() -> Vec<(&'static str, Scope)> {
    let named = |names: &[&str], allow_list: AllowList| {
        let names: Vec<_> = names.iter().map(|name| name.parse().unwrap()).collect();
        Scope::of_credential(&names, &allow_list).unwrap()
    };
    let this = AllowEntry::object(ResourceType::Workspace, Uuid::from_u128(WORKSPACE));
    vec![
        ("coder:all", Scope::all()),
        ("application_connect", named(&["application_connect"], AllowList::everything())),
        ("workspace:ssh", named(&["workspace:ssh"], AllowList::everything())),
        ("template:read", named(&["template:read"], AllowList::everything())),
        ("coder:all on this workspace", named(&["all"], [this].into_iter().collect())),
    ]
}

fn letter(decision: &Result<app_authz::Permit<'_>, Denial>) -> String {
    let Err(denial) = decision else { return "A".to_owned() };
    let mark = |warning: &Warning| match warning {
        Warning::SharingLevelForcedToOwner { .. } => '1',
        _ => '2',
    };
    denial.warnings().iter().fold("d".to_owned(), |text, warning| text + &mark(warning).to_string())
}

#[test]
fn the_rule_as_one_table() {
    let actions = ["read", "application_connect", "ssh", "start", "stop"].map(str::to_owned);
    let flags = [(false, false), (true, false), (false, true), (true, true)];
    let mut table = String::from(
        "For each column the levels owner, organization, authenticated, public:\n\
         A allowed, d denied, 1 sharing level forced to owner, 2 site owner blocked\n\n\
         scope | switches | caller | subdomain | terminal | path | path sharing | path site owner | path both\n",
    );
    let switches =
        [("", false, false), ("owner without access", true, false), ("dormant", false, true)];
    for (at, (scope_name, scope)) in scopes().into_iter().enumerate() {
        // Only the callers for whom the scope makes a difference, on an ordinary workspace.
        let brief = at > 0;
        for (name, disable_exec, dormant) in switches.into_iter().take(if brief { 1 } else { 3 }) {
            for (caller, identity) in callers() {
                let telling =
                    ["workspace-owner", "same-org-member", "other-org-member", "site-owner"];
                if brief && !telling.contains(&caller) {
                    continue;
                }
                let switches = Switches::default().disable_owner_workspace_access(disable_exec);
                let subject = identity.map(|(id, names)| {
                    let groups =
                        caller.contains("group").then_some(GroupId(Uuid::from_u128(GROUP)));
                    let id = UserId(Uuid::from_u128(id));
                    Subject::new(id, roles(&names, switches), scope.clone()).with_groups(groups)
                });
                let cell = |method, (sharing, site_owner)| {
                    let rules = Rules::default()
                        .allow_path_app_sharing(sharing)
                        .allow_path_app_site_owner_access(site_owner);
                    let letters = LEVELS.map(|level| {
                        let target = target(method, level, dormant, acl(caller, &actions));
                        letter(&decide(&target, subject.as_ref(), rules))
                    });
                    letters.join(" ")
                };
                let mut cells = vec![
                    cell(AccessMethod::Subdomain, flags[0]),
                    cell(AccessMethod::Terminal, flags[0]),
                ];
                cells.extend(flags.map(|flags| cell(AccessMethod::Path, flags)));
                writeln!(table, "{scope_name} | {name} | {caller} | {}", cells.join(" | "))
                    .unwrap();
            }
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn warnings_are_the_control_planes_sentences() {
    let target = target(AccessMethod::Path, SharingLevel::Public, false, Acl::NONE);
    let visitor = UserId(Uuid::from_u128(VISITOR));
    let owner =
        Subject::new(visitor, roles(&["owner".to_owned()], Switches::default()), Scope::all());
    let denial = decide(&target, Some(&owner), Rules::default()).unwrap_err();
    let warnings: Vec<String> = denial.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "unable to use configured sharing level \"public\" because path-based app sharing is \
             disabled (see --dangerous-allow-path-app-sharing), using sharing level \"owner\" instead",
            "path-based apps with \"owner\" share level are only accessible by the workspace owner \
             (see --dangerous-allow-path-app-site-owner-access)",
        ]
    );
}

#[test]
fn a_denial_says_why() {
    let subject = |names: &[String], scope: Scope| {
        Subject::new(UserId(Uuid::from_u128(VISITOR)), roles(names, Switches::default()), scope)
    };
    let member = |organization| format!("organization-member:{}", Uuid::from_u128(organization));
    let reason = |level, subject: Option<&Subject>| {
        let target = target(AccessMethod::Subdomain, level, false, Acl::NONE);
        decide(&target, subject, Rules::default()).unwrap_err().reason()
    };
    let other = subject(&[member(BETA)], Scope::all());
    let narrow = subject(&[member(ACME)], scopes().remove(2).1);
    assert_eq!(reason(SharingLevel::Authenticated, None), Reason::NotSignedIn);
    assert_eq!(reason(SharingLevel::Owner, Some(&other)), Reason::NotShared);
    assert_eq!(reason(SharingLevel::Organization, Some(&other)), Reason::NotMember);
    assert_eq!(reason(SharingLevel::Authenticated, Some(&narrow)), Reason::OwnAppsRefused);

    let by_path = target(AccessMethod::Path, SharingLevel::Owner, false, Acl::NONE);
    let denial = decide(&by_path, Some(&other), Rules::default()).unwrap_err();
    assert_eq!(denial.reason(), Reason::PathAppOfAnother);
    assert_eq!(denial.to_string(), "the path-based app belongs to another user");
}

#[test]
fn a_reserved_port_is_opened_to_no_visitor_and_others_do_not_learn_of_it() {
    let owner = Subject::new(
        UserId(Uuid::from_u128(OWNER)),
        roles(&["owner".to_owned(), "member".to_owned()], Switches::default()),
        Scope::all(),
    );
    let names = [format!("organization-member:{}", Uuid::from_u128(BETA))];
    let other = Subject::new(
        UserId(Uuid::from_u128(VISITOR)),
        roles(&names, Switches::default()),
        Scope::all(),
    );
    for (port, level, subject, reason) in [
        ("9", SharingLevel::Owner, Some(&owner), None),
        ("code", SharingLevel::Owner, Some(&owner), None),
        ("8", SharingLevel::Owner, Some(&owner), Some(Reason::ReservedPort)),
        ("0s", SharingLevel::Owner, Some(&owner), Some(Reason::ReservedPort)),
        ("00008S", SharingLevel::Public, Some(&other), Some(Reason::ReservedPort)),
        ("8", SharingLevel::Public, None, Some(Reason::ReservedPort)),
        ("8", SharingLevel::Owner, None, Some(Reason::NotSignedIn)),
        ("8", SharingLevel::Owner, Some(&other), Some(Reason::NotShared)),
    ] {
        let fields = UncheckedRequest {
            app_slug_or_port: port.to_owned(),
            ..request(AccessMethod::Subdomain).to_unchecked()
        };
        let asked: AppRequest = fields.try_into().unwrap();
        let target = target_of(asked, level, false, Acl::NONE);
        let denied = decide(&target, subject, Rules::default()).err();
        assert_eq!(denied.map(|denial| denial.reason()), reason, "{port} {level}");
        let denied = decide_with(&target, None, |_| true).err();
        let is_reserved = port != "9" && port != "code";
        let expected = is_reserved.then_some(Reason::ReservedPort);
        assert_eq!(denied.map(|denial| denial.reason()), expected, "{port}");
    }
}

#[test]
fn reasons_and_levels_keep_their_names() {
    let reasons = [
        Reason::NotSignedIn,
        Reason::PathAppOfAnother,
        Reason::NotShared,
        Reason::OwnAppsRefused,
        Reason::NotMember,
        Reason::ShareOverMaximum,
        Reason::NoScope,
        Reason::ReservedPort,
        Reason::OwnDecider,
    ];
    assert_eq!(
        reasons.map(Reason::as_str),
        [
            "not_signed_in",
            "path_app_of_another",
            "not_shared",
            "own_apps_refused",
            "not_member",
            "share_over_maximum",
            "no_scope",
            "reserved_port",
            "own_decider"
        ]
    );
    assert_eq!(SharingLevel::ALL, LEVELS);
    let levels = LEVELS.map(SharingLevel::as_str);
    assert_eq!(levels, ["owner", "organization", "authenticated", "public"]);
    for level in LEVELS {
        assert_eq!(level.as_str().parse(), Ok(level));
        assert_eq!(level.to_string(), level.as_str());
    }
    assert_eq!("".parse(), Ok(SharingLevel::Owner));
    let unknown = Err(Error::UnknownSharingLevel("everyone".to_owned()));
    assert_eq!("everyone".parse::<SharingLevel>(), unknown);
}

#[test]
fn a_deployment_without_sharing_ignores_access_lists() {
    let shared = acl("shared-by-user", &["*".to_owned()]);
    let target = target(AccessMethod::Subdomain, SharingLevel::Owner, false, shared);
    let names = [format!("organization-member:{}", Uuid::from_u128(ACME))];
    let visitor = UserId(Uuid::from_u128(VISITOR));
    let subject = Subject::new(visitor, roles(&names, Switches::default()), Scope::all());
    assert!(decide(&target, Some(&subject), Rules::default()).is_ok());
    let rules = Rules::default().disable_workspace_sharing(true);
    assert!(decide(&target, Some(&subject), rules).is_err());
}

/// For hosts that decide themselves: their answer counts, and no rule of ours does
#[test]
fn the_hosts_own_decider_is_asked_instead_of_the_rules() {
    let (owner, visitor) = (UserId(Uuid::from_u128(OWNER)), UserId(Uuid::from_u128(VISITOR)));
    for method in METHODS {
        for level in LEVELS {
            let target = target(method, level, true, Acl::NONE);
            for asked in [None, Some(visitor), Some(owner)] {
                let permit = decide_with(&target, asked, |question| {
                    assert_eq!((question.visitor(), question.target()), (asked, &target));
                    assert_eq!(question.is_of_owner(), asked == Some(owner));
                    assert_eq!(question.is_on_shared_host(), method == AccessMethod::Path);
                    let terminal = method == AccessMethod::Terminal;
                    assert_eq!(question.action() == Action::Ssh, terminal);
                    true
                });
                let permit = permit.unwrap();
                assert_eq!((permit.visitor(), permit.target()), (asked, &target));

                let denial = decide_with(&target, asked, |_| false).unwrap_err();
                assert_eq!(denial.reason(), Reason::OwnDecider);
                assert_eq!(denial.reason().as_str(), "own_decider");
                assert_eq!(denial.to_string(), "the host's own rules refuse");
                assert!(denial.warnings().is_empty());
            }
        }
    }
    // What is asked about has been resolved: the widest level of the template is a fact, too.
    let subdomain = target(AccessMethod::Subdomain, SharingLevel::Public, false, Acl::NONE);
    let public = |question: &Question<'_>| question.target().sharing() == SharingLevel::Public;
    assert!(decide_with(&subdomain, None, public).is_ok());
    let narrowed = subdomain.with_sharing(SharingLevel::Organization);
    assert!(decide_with(&narrowed, None, public).is_err());
}

proptest! {
    #[test]
    fn a_wider_level_opens_the_app_for_at_least_the_same_visitors(
        caller in select(callers()),
        scope in 0..5_usize,
        method in select(&METHODS[..]),
        flags in (any::<bool>(), any::<bool>()),
        dormant in any::<bool>(),
    ) {
        let (name, identity) = caller;
        let subject = identity.map(|(id, names)| {
            let roles = roles(&names, Switches::default());
            Subject::new(UserId(Uuid::from_u128(id)), roles, scopes().remove(scope).1)
        });
        let rules = Rules::default()
            .allow_path_app_sharing(flags.0)
            .allow_path_app_site_owner_access(flags.1);
        let open = LEVELS.map(|level| {
            let target = target(method, level, dormant, acl(name, &["*".to_owned()]));
            decide(&target, subject.as_ref(), rules).is_ok()
        });
        prop_assert!(open.is_sorted(), "{:?}", open);
        prop_assert!(LEVELS.is_sorted());
    }
}
