//! Decisions whose scope came out of the tables of keys
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests")]

#[path = "../../app-authz/tests/vectors/mod.rs"]
mod vectors;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use app_authz::credential::{KeyHolder, SessionToken, Sessions};
use app_authz::id::GroupId;
use app_authz::rbac::{Case, Role, Scope, Subject};
use serde::Deserialize;
use store::fleet::Fleet;
use testkit::{Database, Release, Rows};
use uuid::Uuid;

/// What of a case a key's row can hold, and who asks
#[derive(Deserialize)]
struct Written {
    subject: Asking,
}

#[derive(Deserialize)]
struct Asking {
    id: Uuid,
    groups: Vec<Uuid>,
    scope: Limits,
}

#[derive(Deserialize)]
struct Limits {
    site: Vec<String>,
    user: Vec<String>,
    by_org_id: serde_json::Map<String, serde_json::Value>,
    allow_list: Vec<String>,
}

impl Limits {
    /// The labels that stand for the scope's permissions, if any do
    ///
    /// Labels grant for every object: a scope that denies, or speaks of organizations or of
    /// the user's own, is in no table.
    fn labels(&self) -> Option<Vec<String>> {
        let others = self.by_org_id.values().flat_map(|lists| lists.as_object().unwrap().values());
        let others = others.flat_map(|list| list.as_array().unwrap());
        let denies = self.site.iter().any(|permission| permission.starts_with('!'));
        if denies || !self.user.is_empty() || others.count() > 0 {
            return None;
        }
        let label = |permission: &String| match &**permission {
            "*:*" => "coder:all".to_owned(),
            other => other.to_owned(),
        };
        Some(self.site.iter().map(label).collect())
    }

    /// Whether the list is one that a row may hold: not empty, and each entry of a type and an
    /// id, or of all
    fn is_storable(&self) -> bool {
        let entry = |entry: &String| {
            entry.split_once(':').is_some_and(|(_, id)| id == "*" || Uuid::try_parse(id).is_ok())
        };
        !self.allow_list.is_empty() && self.allow_list.iter().all(entry)
    }
}

/// A case, with its key
struct Stored {
    case: Case,
    asking: Asking,
    labels: Vec<String>,
    token: SessionToken,
}

impl Stored {
    fn read(n: usize, line: &str) -> Option<Self> {
        let Written { subject: asking } = serde_json::from_str(line).unwrap();
        let labels = asking.scope.labels().filter(|_| asking.scope.is_storable())?;
        let token = format!("{n:010}-{n:022}").parse().unwrap();
        Some(Self { case: Case::from_json(line).unwrap(), asking, labels, token })
    }

    /// The case's user with the case's roles and groups, within the scope of the row
    fn subject(&self, holder: &KeyHolder) -> Subject {
        let roles = self.case.subject().roles().cloned().map(Arc::<Role>::new);
        let scope = match holder.key.scopes.is_empty() {
            true => Scope::new("", Default::default(), holder.key.allow_list.clone()),
            false => Scope::of_credential(&holder.key.scopes, &holder.key.allow_list).unwrap(),
        };
        let groups = self.asking.groups.iter().copied().map(GroupId);
        assert_eq!(self.case.subject().id().0, self.asking.id);
        Subject::new(self.case.subject().id(), roles, scope).with_groups(groups)
    }
}

#[tokio::test]
async fn the_published_cases_agree_when_their_scope_comes_out_of_the_tables() {
    let more = vectors::more();
    let lines = vectors::KEPT.lines().chain(more.iter().flat_map(|more| more.lines()));
    let cases: Vec<Stored> =
        lines.enumerate().filter_map(|(n, line)| Stored::read(n, line)).collect();

    let own = Database::new().await;
    let fleet = alice();
    own.store().await.load(&fleet).await.unwrap();
    let mut databases = vec![(own, 2_800)];
    for (release, at_least) in [
        (Release::V2_24, 1_100),
        (Release::V2_26, 1_100),
        (Release::V2_27, 2_400),
        (Release::V2_35, 2_700),
        (Release::NEWEST, 2_800),
    ] {
        let database = Database::of_release(release).await;
        database.load(Rows::of(&fleet)).await.unwrap();
        databases.push((database, at_least));
    }
    for (database, at_least) in databases {
        let agreed = agree(&database, fleet.users[0].id, &cases).await;
        let of = database.release().map_or("our own", Release::name);
        println!("{agreed} cases on tables of {of}");
        // Of the cases in the repository, tables without lists of objects hold few.
        assert!(more.is_none() && agreed >= 10 || agreed >= at_least, "{of}: {agreed}");
    }
}

/// Writes the keys of those cases that the tables can hold, reads them, and decides; how many
/// there are
async fn agree(database: &Database, user: Uuid, cases: &[Stored]) -> usize {
    let lists = database
        .sql(
            "SELECT column_name FROM information_schema.columns
             WHERE table_name = 'api_keys' AND column_name = 'allow_list'",
        )
        .await;
    let known = database
        .sql("SELECT enumlabel FROM pg_enum WHERE enumtypid = 'api_key_scope'::regtype")
        .await;
    let known: BTreeSet<String> = known.into_iter().collect();
    // Before v2.27 a key had one label, of two, and everything for its objects.
    let label = |label: &String| match known.contains(label) {
        true => Some(label.clone()),
        false => Some(label.replace("coder:", "")).filter(|label| known.contains(label)),
    };
    let held: Vec<(&Stored, Vec<String>)> = cases
        .iter()
        .filter_map(|case| {
            let labels = case.labels.iter().map(label).collect::<Option<Vec<_>>>()?;
            let single = labels.len() == 1 && case.asking.scope.allow_list == ["*:*"];
            (!lists.is_empty() || single).then_some((case, labels))
        })
        .collect();

    let mut rows = String::new();
    for (case, labels) in &held {
        let limits = match lists.is_empty() {
            true => format!("'{}'", labels[0]),
            false => format!(
                "'{{{}}}', '{{{}}}'",
                labels.join(","),
                case.asking.scope.allow_list.join(",")
            ),
        };
        let comma = if rows.is_empty() { "" } else { "," };
        let id = case.token.id();
        write!(
            rows,
            "{comma} ('{id}', '', '{user}', now(), now(), now(), now(), 'none', {limits})"
        )
        .unwrap();
    }
    let limits = if lists.is_empty() { "scope" } else { "scopes, allow_list" };
    database
        .sql(&format!(
            "INSERT INTO api_keys (id, hashed_secret, user_id, last_used, expires_at, created_at,
                                   updated_at, login_type, {limits}) VALUES {rows}"
        ))
        .await;

    let store = database.store().await;
    let tokens: Vec<SessionToken> = held.iter().map(|(case, _)| case.token.clone()).collect();
    let mut holders = store.holders(&tokens).await.unwrap();
    holders.sort_by(|a, b| a.key.id.cmp(&b.key.id));
    assert_eq!(holders.len(), held.len());
    for ((case, _), holder) in held.iter().zip(&holders) {
        assert_eq!(case.token.id(), holder.key.id);
        let subject = case.subject(holder);
        let decision = case
            .case
            .object()
            .is_some_and(|object| subject.is_allowed(case.case.action(), &object));
        assert_eq!(Some(decision), case.case.expected, "case {}", case.case.number);
    }
    held.len()
}

/// Somebody to hold the keys
fn alice() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    fleet.user("alice", acme);
    fleet
}
