//! A deployment as a control plane of a release stores it, and the answers of that release

#![allow(clippy::unwrap_used)] // every lookup is for an entry that was added before

mod people;
mod questions;
mod workspaces;

use std::collections::BTreeMap;
use std::time::SystemTime;

use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};
use store::fleet::Fleet;
use uuid::Uuid;

pub use self::questions::{Answer, JobOf, JobQuestion, SignIn, SignedIn, Target, Visit};
use crate::{Database, Loan, Release, Rows};

/// The rows of every table that authd reads, as the control plane of a release writes them,
/// and questions to which that release's answers are known
///
/// Rows and questions that a release does not support are left out, such as access lists in old
/// releases.
#[derive(Debug)]
pub struct World {
    release: Release,
    now: DateTime<Utc>,
    fleet: Fleet,
    rows: Rows,
    /// Ids by name: `alice`, `acme`, `alice/dev`, `alice/dev/main`
    ids: BTreeMap<String, Uuid>,
    /// Session tokens by the names that [`Visit::key`] uses, and those of proxies
    tokens: BTreeMap<String, String>,
}

impl World {
    /// The name of the deployment in the audience of a key
    pub const ACCESS_URL: &'static str = "https://authd.test";

    /// The deployment on a release, as of `now`
    ///
    /// At this time the agents are connected, the sessions are new, and the keys are valid.
    #[must_use]
    pub fn of(release: Release, now: SystemTime) -> Self {
        let mut world = Self {
            release,
            now: now.into(),
            fleet: Fleet::default(),
            rows: Rows::default(),
            ids: BTreeMap::new(),
            tokens: BTreeMap::new(),
        };
        world.add_people();
        world.add_workspaces();
        world.add_keys();
        world.add_deployment();
        world
    }

    /// Writes the rows to the tables of the release
    ///
    /// # Panics
    ///
    /// Panics if the tables are of another release, or already hold such rows.
    pub async fn load(&self, database: &Database) {
        assert_eq!(database.release(), Some(self.release));
        let loaded = database.load(self.rows.clone()).await;
        loaded.unwrap_or_else(|refusal| panic!("{}: {refusal}", self.release));
    }

    /// A database with the release's tables and these rows
    ///
    /// # Panics
    ///
    /// Panics if the release cannot hold the rows, which is a bug.
    pub async fn database(&self) -> Loan {
        let lent = Database::lent(self.release, self.rows.clone()).await;
        lent.unwrap_or_else(|refusal| panic!("{}: {refusal}", self.release))
    }

    /// The release
    #[must_use]
    pub const fn release(&self) -> Release {
        self.release
    }

    /// The id of the entry with this name: a user, an organization, a workspace as `alice/dev`,
    /// an agent as `alice/dev/main`, a template's version or job as `job: …`
    ///
    /// # Panics
    ///
    /// Panics if the name is unknown.
    #[must_use]
    pub fn id(&self, name: &str) -> Uuid {
        self.ids.get(name).copied().unwrap_or_else(|| panic!("the name `{name}` is unknown"))
    }

    /// The session token with this name, as a request carries it
    ///
    /// # Panics
    ///
    /// Panics if the name is unknown.
    #[must_use]
    pub fn token(&self, name: &str) -> &str {
        self.tokens.get(name).unwrap_or_else(|| panic!("the token `{name}` is unknown"))
    }

    fn since(&self, release: Release) -> bool {
        self.release >= release
    }

    /// Adds a session of a user under a name; `unusual` replaces columns of its row
    fn add_key(&mut self, name: &str, user: &str, unusual: Value) {
        let token = self.fleet.session(self.id(user));
        self.tokens.insert(name.to_owned(), token.reveal().to_owned());
        let mut keys = Fleet::default();
        keys.api_keys.append(&mut self.fleet.api_keys);
        let mut keys = Rows::of(&keys);
        keys.change("api_keys", |row| {
            for time in ["created_at", "updated_at", "last_used"] {
                row.insert(time.to_owned(), json!(self.now));
            }
            row.insert("expires_at".to_owned(), json!(self.now + Duration::days(1)));
            row.extend(unusual.as_object().cloned().unwrap_or_default());
        });
        self.rows.extend(keys);
    }

    fn add_deployment(&mut self) {
        let oslo = self.fleet.proxy("oslo", "https://oslo.test", "*.oslo.test");
        self.tokens.insert("proxy: oslo".to_owned(), oslo.reveal());
        let gone = self.fleet.proxy("gone", "https://gone.test", "*.gone.test");
        self.tokens.insert("proxy: gone".to_owned(), gone.reveal());
        self.fleet.workspace_proxies[1].deleted = true;
        self.rows.extend(Rows::of(&std::mem::take(&mut self.fleet)));
        self.add_settings();
        let ago = |days| json!(self.now - Duration::days(days));
        let mut keys = vec![
            // When a key expires its secret is deleted, and its row stays.
            ("workspace_apps_token", 1, Value::Null, ago(70), ago(39)),
            ("workspace_apps_token", 2, "2b".repeat(64).into(), ago(10), Value::Null),
            ("workspace_apps_api_key", 1, "1a".repeat(32).into(), ago(10), Value::Null),
            ("oidc_convert", 1, "0c".repeat(64).into(), ago(10), Value::Null),
            ("tailnet_resume", 1, "7e".repeat(64).into(), ago(10), Value::Null),
        ];
        if self.since(Release::V2_35) {
            keys.push(("nats_ca", 1, "not hexadecimal at all".into(), ago(10), Value::Null));
        }
        for (feature, sequence, secret, starts_at, deletes_at) in keys {
            self.rows.add(
                "crypto_keys",
                json!({
                    "feature": feature, "sequence": sequence, "secret": secret,
                    "starts_at": starts_at, "deletes_at": deletes_at,
                }),
            );
        }
    }
}
