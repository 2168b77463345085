//! The rules of the ports, but those whose rows the tables cannot hold

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agent_auth::{AgentToken, Candidate, Standing};
use app_audit::conformance::{AuditExplorerRule, AuditLogRule, JournalRule, World};
use app_authz::app::{Agent, Contact, Transition};
use app_authz::conformance::{DirectoryRule, KeysRule, Rows, SessionsRule};
use app_authz::credential::NewKey;
use uuid::Uuid;

use crate::example::{Login, Machine, Tables, User, Workspace, now};

mod candidates {
    agent_auth::candidates_conformance!(super::of_machines);
}

async fn of_machines(rows: &agent_auth::conformance::Rows) -> Tables {
    let tables = Tables::default();
    for (n, workspace) in (1..).zip(&rows.workspaces) {
        let id = Uuid::from_u128(n);
        let newest = workspace.builds.last().map(|build| build.number);
        let machines = rows.agents().filter(|(of, _, row)| {
            of.name == workspace.name && !row.is_deleted && !row.is_sub_agent
        });
        let machines = machines.map(|(_, build, row)| {
            let standing = match Some(build.number) == newest {
                _ if workspace.is_deleted => Standing::Deleted,
                true => Standing::Live,
                false => Standing::Stale,
            };
            let number = Uuid::from_u64_pair(u64::from(build.number), id.as_u64_pair().1);
            machine(&row.name, &row.instance, row.token, (number, id), standing)
        });
        tables.rows().workspaces.push(Workspace {
            id: id.into(),
            name: workspace.name.clone(),
            owner: Uuid::nil().into(),
            transition: Transition::Start,
            machines: machines.collect(),
            apps: Vec::new(),
        });
    }
    tables
}

fn machine(
    name: &str,
    instance: &str,
    token: Uuid,
    (build, workspace): (Uuid, Uuid),
    standing: Standing,
) -> Machine {
    let token_of = AgentToken::new(token);
    Machine {
        agent: Agent::new(token.into(), name, Contact::new(now())),
        instance: instance.to_owned(),
        candidate: Candidate::new(
            token.into(),
            name.to_owned(),
            token_of,
            build.into(),
            workspace.into(),
            standing,
        ),
    }
}

/// Without shared ports, shares with people and access lists, dormant workspaces and templates
const OF_OTHER_TABLES: [DirectoryRule; 6] = [
    DirectoryRule::Cors,
    DirectoryRule::DeletedUser,
    DirectoryRule::Dormant,
    DirectoryRule::People,
    DirectoryRule::Ports,
    DirectoryRule::Shared,
];

#[tokio::test]
async fn the_directory_keeps_the_rules() {
    for rule in DirectoryRule::ALL.iter().filter(|rule| !OF_OTHER_TABLES.contains(rule)) {
        rule.check(&of_users(&rule.rows())).await.unwrap();
    }
}

#[tokio::test]
async fn sessions_keep_the_rules() {
    // Users are in no groups.
    for rule in SessionsRule::ALL.iter().filter(|rule| **rule != SessionsRule::Groups) {
        rule.check(&of_users(&rule.rows())).await.unwrap();
    }
}

#[tokio::test]
async fn keys_keep_the_rules() {
    for rule in KeysRule::ALL {
        rule.check(&of_users(&rule.rows())).await.unwrap();
    }
}

fn of_users(rows: &Rows) -> Tables {
    let tables = Tables::default();
    let mut into = tables.rows();
    for row in rows.users.iter().filter(|row| !row.is_deleted) {
        let (name, status, organization) = (row.name.clone(), row.status, row.organization);
        into.users.insert(row.id, User { name, status, organization, roles: Vec::new() });
    }
    for row in &rows.sessions {
        let new = NewKey::new(&row.token, row.user, row.last_used, row.expires_at)
            .with_scope(row.scope.clone())
            .with_lifetime(row.lifetime);
        into.logins.insert(row.token.id().to_owned(), Login { key: new.stored(), parent: None });
    }
    for row in rows.workspaces.iter().filter(|row| !row.is_deleted) {
        let Some(newest) = row.builds.last() else { continue };
        let live = || newest.agents.iter().filter(|row| !row.is_deleted);
        let machine = |agent: &Agent| Machine {
            agent: agent.clone(),
            ..machine(&agent.name, "", agent.id.0, (Uuid::nil(), row.id.0), Standing::Live)
        };
        into.workspaces.push(Workspace {
            id: row.id,
            name: row.name.clone(),
            owner: row.owner,
            transition: newest.transition,
            machines: live().map(|row| machine(&row.agent)).collect(),
            apps: live().flat_map(|row| row.apps.clone()).collect(),
        });
    }
    into.secrets.clone_from(&rows.crypto_keys);
    drop(into);
    tables
}

/// The example writes no ends of sessions, so visits are not counted for them
const OF_ENDS: [JournalRule; 4] = [
    JournalRule::Closed,
    JournalRule::ClosedByNext,
    JournalRule::Counted,
    JournalRule::CountedElsewhere,
];

#[tokio::test]
async fn the_journal_and_its_log_keep_the_rules() {
    for rule in JournalRule::ALL.iter().filter(|rule| !OF_ENDS.contains(rule)) {
        rule.check(Past::default()).await.unwrap();
    }
    for rule in AuditLogRule::ALL {
        rule.check(Past::default()).await.unwrap();
    }
    let with_ends = AuditExplorerRule::WithItsEnd;
    for rule in AuditExplorerRule::ALL.iter().filter(|rule| **rule != with_ends) {
        rule.check(Past::default()).await.unwrap();
    }
}

/// Tables whose rows are moved into the past
#[derive(Default)]
struct Past(Arc<Tables>);

impl World for Past {
    type Store = Tables;

    fn store(&self) -> &Tables {
        &self.0
    }

    fn now(&self) -> SystemTime {
        now()
    }

    async fn later(&self, time: Duration) {
        let mut rows = self.0.rows();
        for kept in rows.visits.values_mut() {
            kept.session.started_at -= time;
            kept.session.updated_at -= time;
        }
        for row in rows.log.values_mut() {
            row.time -= time;
        }
    }
}
