//! The cases to decide: the published ones, or a few of our own if those are missing

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use app_authz::app::{
    AccessMethod, Agent, App, Contact, SharingLevel, Transition, UncheckedRequest, Workspace,
    WorkspaceFacts,
};
use app_authz::id::{AppId, GroupId, OrganizationId};
use app_authz::rbac::{
    AccessList, Acl, AllowList, BuiltInRoles, Case, Levels, ResourceType, Scope, Subject, Switches,
    WorkspaceSharing,
};
use app_authz::{AgentId, Rules, Target, UserId, WorkspaceId, decide, resolve};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

/// Role-based decisions, as text and prepared
pub(super) struct Corpus {
    #[cfg(feature = "peers")]
    pub(super) texts: Vec<String>,
    pub(super) cases: Vec<Case>,
}

impl Corpus {
    /// All cases, in a mixed order, so that any few successive ones are a sample
    pub(super) fn read() -> Self {
        let lines: Vec<String> = match vectors("cases.jsonl") {
            Some(text) => text.lines().map(str::to_owned).collect(),
            None => minted_cases(),
        };
        let stride = (lines.len() / 3..).find(|stride| gcd(*stride, lines.len()) == 1).unwrap();
        let texts: Vec<String> =
            (0..lines.len()).map(|n| lines[n * stride % lines.len()].clone()).collect();
        let cases: Vec<Case> = texts.iter().map(|text| Case::from_json(text).unwrap()).collect();
        for case in &cases {
            assert_eq!(Some(case.is_allowed()), case.expected, "case {}", case.number);
        }
        Self {
            #[cfg(feature = "peers")]
            texts,
            cases,
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn vectors(file: &str) -> Option<String> {
    let folder = PathBuf::from(std::env::var_os("AUTHD_VECTORS")?);
    std::fs::read_to_string(folder.join("rbac").join(file)).ok()
}

/// Whether the published cases are available
pub(super) fn is_published() -> bool {
    vectors("cases.jsonl").is_some()
}

/// Ten kinds of question, each for a hundred users of two organizations
fn minted_cases() -> Vec<String> {
    let member = json!(["workspace:*", "api_key:read"]);
    let mut cases = Vec::new();
    for n in 0..100 {
        let (ann, ben) = (uuid(n), uuid(n + 1000));
        let (acme, beta) = (uuid(1), uuid(2));
        let roles = |site: Value, org: Value| {
            json!([
                { "name": "member", "site": site, "user": ["api_key:*"] },
                { "name": "m", "by_org_id": { &acme: { "org": org, "member": member } } },
            ])
        };
        let plain = || roles(json!([]), json!([]));
        let workspace = |owner: &str, organization: &str| json!({ "type": "workspace", "id": uuid(n), "owner": owner, "org_owner": organization });
        let shared = || {
            let mut object = workspace(&ben, &acme);
            object["acl_user_list"] = json!({ &ann: ["ssh"] });
            object
        };
        let own_key = json!({ "type": "api_key", "id": "k", "owner": ann });
        let anywhere = json!({ "type": "workspace", "owner": ann, "any_org": true });
        let all = ["*:*"];
        let questions = [
            (true, plain(), workspace(&ann, &acme), "*:*", all),
            (false, plain(), workspace(&ben, &acme), "*:*", all),
            (false, plain(), workspace(&ann, &beta), "*:*", all),
            (true, plain(), shared(), "*:*", all),
            (false, plain(), shared(), "workspace:read", all),
            (true, plain(), own_key, "*:*", all),
            (true, plain(), anywhere, "*:*", all),
            (true, roles(json!(["*:*"]), json!([])), workspace(&ben, &beta), "*:*", all),
            (false, roles(json!([]), json!(["!*:ssh"])), workspace(&ann, &acme), "*:*", all),
            (false, plain(), workspace(&ann, &acme), "*:*", ["template:*"]),
        ];
        for (expected, roles, object, scope, allow_list) in questions {
            let scope = json!({ "site": [scope], "allow_list": allow_list });
            let subject = json!({ "id": ann, "roles": roles, "scope": scope });
            let case = json!({
                "n": cases.len(), "action": "ssh", "subject": subject, "object": object,
                "expected": expected,
            });
            cases.push(case.to_string());
        }
    }
    cases
}

fn uuid(n: u32) -> String {
    Uuid::from_u128(u128::from(n) + 1).to_string()
}

/// A decision about an app, with all its inputs
pub(super) struct AppQuestion {
    pub(super) target: Target<'static>,
    pub(super) subject: Option<Arc<Subject>>,
    pub(super) rules: Rules,
}

/// Every decision of the published cases about apps
pub(super) fn app_questions() -> Vec<AppQuestion> {
    let text = vectors("app-authz-cases.json").unwrap_or_else(minted_app_cases);
    let cases: AppCases = serde_json::from_str(&text).unwrap();
    let mut subjects = BTreeMap::new();
    let questions = cases.cases.iter().map(|case| {
        let subject = case.scope.as_ref().map(|scope| {
            let key = (&case.caller, scope, case.disable_owner_workspace_exec);
            Arc::clone(subjects.entry(key).or_insert_with(|| Arc::new(cases.subject(case, scope))))
        });
        let rules = Rules::default()
            .allow_path_app_sharing(case.allow_path_app_sharing)
            .allow_path_app_site_owner_access(case.allow_path_app_site_owner_access);
        let question = AppQuestion { target: cases.target(case), subject, rules };
        let allowed = decide(&question.target, question.subject.as_deref(), rules).is_ok();
        assert!(case.allow.is_none_or(|allow| allow == allowed), "{}", case.caller);
        question
    });
    questions.collect()
}

#[derive(Deserialize)]
struct AppCases {
    workspace: WorkspaceFields,
    acl_actions: Vec<String>,
    callers: BTreeMap<String, CallerFields>,
    scopes: BTreeMap<String, ScopeFields>,
    cases: Vec<AppCase>,
}

#[derive(Deserialize)]
struct WorkspaceFields {
    id: Uuid,
    owner: Uuid,
    org: Uuid,
}

#[derive(Deserialize)]
struct CallerFields {
    id: Uuid,
    groups: Vec<Uuid>,
    roles: Vec<String>,
}

#[derive(Deserialize)]
struct ScopeFields {
    /// A list, or words for "every type except user"
    permissions: Value,
    allow_list: Vec<String>,
}

#[derive(Deserialize)]
struct AppCase {
    method: AccessMethod,
    sharing: String,
    caller: String,
    scope: Option<String>,
    allow_path_app_sharing: bool,
    allow_path_app_site_owner_access: bool,
    disable_owner_workspace_exec: bool,
    dormant: bool,
    allow: Option<bool>,
}

impl AppCases {
    fn subject(&self, case: &AppCase, scope: &str) -> Subject {
        let scope = &self.scopes[scope];
        let permissions = match scope.permissions.as_array() {
            Some(listed) => listed.iter().map(|text| text.as_str().unwrap().to_owned()).collect(),
            None => {
                let types = ResourceType::LISTED.iter().filter(|kind| **kind != ResourceType::User);
                types.map(|kind| format!("{kind}:*")).collect::<Vec<_>>()
            }
        };
        let levels = Levels::site(permissions.iter().map(|text| text.parse().unwrap()).collect());
        let scope = Scope::new("scope", levels, AllowList::parse(&scope.allow_list).unwrap());

        let switches =
            Switches::default().disable_owner_workspace_access(case.disable_owner_workspace_exec);
        let caller = &self.callers[&case.caller];
        let names: Vec<_> = caller.roles.iter().map(|name| name.parse().unwrap()).collect();
        let roles = BuiltInRoles::new(switches)
            .expand(names.iter().map(|name| (name, WorkspaceSharing::Everyone)), &[]);
        Subject::new(UserId(caller.id), roles, scope)
            .with_groups(caller.groups.iter().copied().map(GroupId))
    }

    fn target(&self, case: &AppCase) -> Target<'static> {
        let list = |id: Uuid| [(id, &self.acl_actions)].into_iter().collect::<AccessList>();
        let acl = match self.callers.get(&case.caller) {
            Some(user) if case.caller.starts_with("shared-by-user") => {
                Acl::new(list(user.id), AccessList::EMPTY)
            }
            Some(user) if case.caller.starts_with("shared-by-group") => {
                Acl::new(AccessList::EMPTY, list(user.groups[0]))
            }
            _ => Acl::NONE,
        };
        let WorkspaceFields { id, owner, org } = self.workspace;
        let workspace =
            Workspace::new((WorkspaceId(id), "dev"), (UserId(owner), "ann"), OrganizationId(org));
        let workspace = workspace.with_dormant(case.dormant).with_acl(acl);
        found(case.method, workspace).with_sharing(case.sharing.parse().unwrap())
    }
}

/// An app, or the terminal, of a sample workspace
pub(super) fn target(method: AccessMethod) -> Target<'static> {
    let workspace = Workspace::new(
        (WorkspaceId(Uuid::from_u128(3)), "dev"),
        (UserId(Uuid::from_u128(1)), "ann"),
        OrganizationId(Uuid::from_u128(2)),
    );
    found(method, workspace).with_sharing(SharingLevel::Public)
}

fn found(method: AccessMethod, workspace: Workspace) -> Target<'static> {
    let agent = AgentId(Uuid::from_u128(4));
    let mut request = UncheckedRequest {
        access_method: method.to_string(),
        agent_name_or_id: agent.0.to_string(),
        ..UncheckedRequest::default()
    };
    if method != AccessMethod::Terminal {
        request.username_or_id = "ann".to_owned();
        request.workspace_name_or_id = "dev".to_owned();
        request.app_slug_or_port = "code".to_owned();
    }
    let app = App::new(AppId(Uuid::from_u128(5)), agent, "code", "http://127.0.0.1:8080");
    let contact = Contact::new(SystemTime::UNIX_EPOCH);
    let facts = WorkspaceFacts::new(workspace.owner, workspace, Transition::Start, None)
        .with_agents([Agent::new(agent, "main", contact)])
        .with_apps([app]);
    let request = kept(request.try_into().unwrap());
    resolve(request, Some(kept(facts)), Rules::default()).unwrap()
}

/// Leaks a fact, which is needed for the whole run
fn kept<T>(fact: T) -> &'static T {
    Box::leak(Box::new(fact))
}

/// Every method and level, for the owner, another user and an anonymous visitor
fn minted_app_cases() -> String {
    let (ann, ben, acme) = (uuid(1), uuid(2), uuid(3));
    let role = format!("organization-member:{acme}");
    let mut cases = Vec::new();
    for method in ["path", "subdomain", "terminal"] {
        for sharing in ["owner", "organization", "authenticated", "public"] {
            for (caller, scope) in [("ann", Some("all")), ("ben", Some("all")), ("nobody", None)] {
                cases.push(json!({
                    "method": method, "sharing": sharing, "caller": caller, "scope": scope,
                    "allow_path_app_sharing": false, "allow_path_app_site_owner_access": false,
                    "disable_owner_workspace_exec": false, "dormant": false,
                }));
            }
        }
    }
    let text = json!({
        "workspace": { "id": uuid(4), "owner": ann, "org": acme },
        "acl_actions": [],
        "callers": {
            "ann": { "id": ann, "groups": [], "roles": ["member", &role] },
            "ben": { "id": ben, "groups": [], "roles": ["member"] },
        },
        "scopes": { "all": { "permissions": ["*:*"], "allow_list": ["*:*"] } },
        "cases": cases,
    });
    text.to_string()
}
