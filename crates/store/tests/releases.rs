//! What a deployment on each release of the control plane is answered
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![allow(clippy::disallowed_methods, reason = "as a binary, a test has the time")]

use std::fmt::Debug;
use std::time::SystemTime;

use agent_auth::{Candidates, Denial, ProvenInstance, select};
use app_authz::app::{
    AgentStatus, AppFacts, INACTIVE_TIMEOUT, Reason, ResolveError, UncheckedRequest,
};
use app_authz::credential::{Identified, SessionToken, Sessions, Source, Terms, identify};
use app_authz::id::JobId;
use app_authz::jobs::{JobKind, JobOrigin, Jobs, ProvisionerJob};
use app_authz::proxy::{Proxies, ProxyToken};
use app_authz::rbac::{BuiltInRoles, OwnWorkspaces, Switches};
use app_authz::token::{Feature, KeyStore};
use app_authz::{AppRequest, Directory, Rules, decide, resolve};
use store::{Options, PgStore, Store};
use testkit::{Answer, JobOf, Loan, Release, SignedIn, Target, World};

#[tokio::test]
async fn agents_sign_in_on_every_release() {
    let mut wrong = Wrong::default();
    for release in Release::ALL {
        let (world, _database, store) = deployment(*release).await;
        for question in world.sign_ins() {
            let found = store.by_instance(ProvenInstance::assume_verified(question.instance)).await;
            let found = found.map_err(|error| error.to_string()).map(|candidates| {
                match select(&candidates, question.agent_name, agent_auth::Rules::default()) {
                    Ok(selected) => Ok(selected.agent.0),
                    Err(refusal) => Err(refusal),
                }
            });
            let expected = Ok(match question.answer {
                SignedIn::Agent(name) => Ok(world.id(name)),
                SignedIn::NotFound => Err(Denial::NotFound),
                SignedIn::NoSuchName => Err(Denial::NoAgentOfThatName),
                SignedIn::Stale => Err(Denial::Stale),
                SignedIn::Shared => Err(Denial::SharedByWorkspaces),
                SignedIn::Ambiguous(names) => {
                    let names = names.iter().map(|name| (*name).to_owned()).collect();
                    Err(Denial::Ambiguous { names })
                }
            });
            wrong.unless_same(*release, &question, &found, &expected);
        }
    }
    wrong.assert_none();
}

#[tokio::test]
async fn visitors_are_answered_as_each_release_answers_them() {
    let mut wrong = Wrong::default();
    for release in Release::FIRST_WITH_APPS.and_later() {
        let (world, _database, store) = deployment(*release).await;
        let visits = world.visits();
        assert!(visits.len() > 100, "{release}: {} visits", visits.len());
        for visit in visits {
            let answer = visit_answer(&store, &world, visit.key, visit.target).await;
            wrong.unless_same(*release, &visit, &answer, &Ok(visit.answer));
        }
    }
    wrong.assert_none();
}

#[tokio::test]
async fn keys_proxies_and_jobs_are_read_on_every_release() {
    let mut wrong = Wrong::default();
    for release in Release::FIRST_WITH_APPS.and_later() {
        let (world, _database, store) = deployment(*release).await;
        for (feature, sequences) in
            [(Feature::WorkspaceAppsToken, vec![2]), (Feature::WorkspaceAppsApiKey, vec![1])]
        {
            let keys = store.keys(feature).await.map_err(|error| error.to_string());
            let found = keys.map(|keys| keys.iter().map(|key| key.sequence).collect::<Vec<_>>());
            wrong.unless_same(*release, &feature, &found, &Ok(sequences));
        }

        let oslo: ProxyToken = world.token("proxy: oslo").parse().unwrap();
        let proxies = store.proxies().await.map_err(|error| error.to_string());
        let found =
            proxies.map(|proxies| (proxies.len(), proxies.iter().any(|proxy| proxy.bears(&oslo))));
        wrong.unless_same(*release, &"proxies", &found, &Ok((1, true)));

        for question in world.jobs() {
            let kind = match question.job {
                name if name.starts_with("job: build") => JobKind::WorkspaceBuild,
                "job: dry run" => JobKind::TemplateVersionDryRun,
                _ => JobKind::TemplateVersionImport,
            };
            let job = ProvisionerJob::new(JobId(world.id(question.job)), kind);
            let origin = store.origin(job).await.map_err(|error| error.to_string());
            let found = origin.map(|origin| match origin {
                Some(JobOrigin::Workspace(workspace)) => Some(workspace.id.0),
                Some(JobOrigin::Template { id, .. }) => id.map(|id| id.0),
                None => None,
            });
            let expected = match question.origin {
                JobOf::Workspace(name) => Some(world.id(name)),
                JobOf::Template => Some(world.id("template")),
                JobOf::Nothing => None,
            };
            wrong.unless_same(*release, &question, &found, &Ok(expected));
        }
    }
    wrong.assert_none();
}

/// Whose sessions use prolongs, and where users may have workspaces of their own
#[tokio::test]
async fn what_changed_between_releases_without_a_column_is_told_by_their_tables() {
    let mut wrong = Wrong::default();
    for release in Release::FIRST_WITH_APPS.and_later() {
        let (world, _database, store) = deployment(*release).await;
        for (key, is_prolonged) in [
            ("alice", true),
            ("frank", true),
            ("alice, apps", true),
            ("alice, by app", true),
            ("alice, by token", *release < Release::V2_35),
            ("ivan", *release < Release::V2_35),
        ] {
            let token: SessionToken = world.token(key).parse().unwrap();
            let holders = store.holders(&[token]).await.map_err(|error| error.to_string());
            let found = holders
                .map(|mut found| found.pop().map(|it| (it.key.is_prolonged, it.own_workspaces)));
            let own = match *release < Release::V2_28 {
                true => OwnWorkspaces::Anywhere,
                false => OwnWorkspaces::InOrganizations,
            };
            wrong.unless_same(*release, &key, &found, &Ok(Some((is_prolonged, own))));
        }
    }
    wrong.assert_none();
}

/// The questions of a release, on a database with its rows
async fn deployment(release: Release) -> (World, Loan, PgStore) {
    let world = World::of(release, SystemTime::now());
    let database = world.database().await;
    let options = Options::default().app_access(release >= Release::FIRST_WITH_APPS);
    let store = PgStore::connect(database.url(), &options).await.unwrap();
    store.ping().await.unwrap();
    (world, database, store)
}

/// What authd makes of a visit: the facts from the store, and the decision
async fn visit_answer(
    store: &PgStore,
    world: &World,
    key: Option<&str>,
    target: Target,
) -> Result<Answer, String> {
    let request = request(world, target);
    let token = key.map(|key| world.token(key).parse::<SessionToken>().unwrap());
    let tokens = token.as_slice();
    let access = store.app_access(&request, tokens).await.map_err(|error| error.to_string())?;
    let AppFacts { workspace, holders, .. } = access;
    let target = match resolve(&request, workspace.as_deref(), Rules::default()) {
        Ok(target) => target,
        Err(ResolveError::Stopped) => return Ok(Answer::Stopped),
        Err(error) if error.is_not_found() => return Ok(Answer::NotFound),
        Err(error) => return Err(error.to_string()),
    };
    let now = SystemTime::now();
    let terms = Terms::default().audience(World::ACCESS_URL);
    let built_in = BuiltInRoles::new(Switches::default());
    let sourced: Vec<_> =
        tokens.iter().map(|token| (Source::SessionHeader, token.clone())).collect();
    let subject = match identify(&sourced, &holders, terms, now) {
        Identified::Anonymous | Identified::Ambiguous => None,
        Identified::User(holder, _) => Some(holder.subject(&built_in)),
        Identified::Blocked(..) => return Ok(Answer::Inactive),
    };
    Ok(match decide(&target, subject.as_ref(), Rules::default()) {
        Ok(_) if target.agent().contact.status(now, INACTIVE_TIMEOUT) == AgentStatus::Connected => {
            Answer::Opens
        }
        Ok(_) => Answer::Unreachable,
        Err(denial) if denial.reason() == Reason::NotSignedIn => Answer::SignIn,
        Err(_) => Answer::NotFound,
    })
}

fn request(world: &World, target: Target) -> AppRequest {
    let fields = match target {
        Target::App { slug, agent, workspace, owner } => UncheckedRequest {
            access_method: "subdomain".to_owned(),
            username_or_id: owner.to_owned(),
            workspace_name_or_id: workspace.to_owned(),
            agent_name_or_id: agent.to_owned(),
            app_slug_or_port: slug.to_owned(),
            ..UncheckedRequest::default()
        },
        Target::Terminal(agent) => UncheckedRequest {
            access_method: "terminal".to_owned(),
            agent_name_or_id: world.id(agent).to_string(),
            ..UncheckedRequest::default()
        },
    };
    fields.normalize().check().unwrap()
}

/// Answers that are not as they should be
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn unless_same<T: Debug + PartialEq>(
        &mut self,
        release: Release,
        question: &impl Debug,
        found: &T,
        expected: &T,
    ) {
        if found != expected {
            self.0.push(format!("{release}: {question:?} is answered {found:?}"));
        }
    }

    fn assert_none(&self) {
        assert!(self.0.is_empty(), "{} wrong answers:\n{}", self.0.len(), self.0.join("\n"));
    }
}
