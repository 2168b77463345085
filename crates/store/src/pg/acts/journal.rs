use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use app_audit::{Act, ActJournal};
use chrono::{DateTime, Utc};
use diesel::data_types::PgInterval;
use diesel::result::QueryResult;
use diesel::sql_types::{
    Array, BigInt, Bool, Inet, Interval, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde_json::Value;
use uuid::Uuid;

use crate::Error;
use crate::acts::by_id;
use crate::facts::Question;
use crate::pg::PgStore;
use crate::pg::connect::Connection;
use crate::pg::journal::{bigint, interval};
use crate::pg::sql::Sql;
use crate::pg::tables::{Generation, Need, Tables};
use crate::pg::values::Address;

impl ActJournal for PgStore {
    type Error = Error;

    async fn note_acts(&self, acts: &[Act]) -> Result<(), Error> {
        if acts.is_empty() {
            return Ok(());
        }
        let rows = by_id(acts);
        let note = NoteActs::of(&rows, &NOTE_ACTS);
        let noted = async |connection: &mut _| note.execute(connection).await;
        self.audit.ask(Question::NoteActs, noted).await?;
        Ok(())
    }

    async fn count_acts(&self, counts: &[(Uuid, u64)]) -> Result<(), Error> {
        let mut sum: BTreeMap<Uuid, u64> = BTreeMap::new();
        for (id, times) in counts {
            let sum = sum.entry(*id).or_default();
            *sum = sum.saturating_add(*times);
        }
        let count = CountActs {
            sql: &COUNT_ACTS,
            ids: sum.keys().copied().collect(),
            times: sum.values().copied().map(bigint).collect(),
        };
        let counted = async |connection: &mut _| count.execute(connection).await;
        self.audit.ask(Question::CountActs, counted).await?;
        Ok(())
    }

    async fn forget_acts(&self, keep: Duration, at_most: u32) -> Result<u64, Error> {
        let forget = ForgetActs {
            sql: &FORGET_ACTS,
            from: self.acts_forgotten.until(),
            keep: interval(keep),
            at_most: at_most.into(),
        };
        let deleted = async |connection: &mut _| forget.get_result(connection).await;
        let deleted = self.audit.ask(Question::Housekeeping, deleted).await?;
        Ok(self.acts_forgotten.note(deleted, at_most))
    }

    async fn records_acts(&self) -> Result<bool, Error> {
        let asked = self.watch.run(async |connection: Arc<Connection>| {
            let may_write = diesel::dsl::sql::<Bool>(MAY_WRITE);
            diesel::select(may_write).get_result(&mut &connection.inner).await
        });
        asked.await
    }

    fn is_unavailable(error: &Error) -> bool {
        error.is_unavailable()
    }
}

impl PgStore {
    /// Writes acts of the past that no journal has written, and returns how many rows that made
    ///
    /// The same acts may be replayed again, and add nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Query`]. What was written by then stays.
    pub async fn replay_acts(&self, acts: &[Act]) -> Result<u64, Error> {
        let rows: Vec<(Uuid, (&Act, u64))> = by_id(acts).into_iter().collect();
        let mut added = 0;
        for batch in rows.chunks(BATCH) {
            let rows: BTreeMap<_, _> = batch.iter().copied().collect();
            let note = NoteActs::of(&rows, &REPLAY_ACTS);
            let rows = self.audit.run(async |connection| note.execute(connection).await).await?;
            added += u64::try_from(rows).unwrap_or_default();
        }
        Ok(added)
    }
}

/// Writes an act in the transaction of what it records
///
/// Does nothing where the table is missing, as beside a control plane until
/// `authd migrate --owned-only` has run.
pub(in crate::pg) async fn note_in(
    act: &Act,
    tables: &Tables,
    connection: &mut AsyncPgConnection,
) -> QueryResult<()> {
    if tables.catalog().has_table("authd_acts") {
        let rows = by_id(std::slice::from_ref(act));
        NoteActs::of(&rows, &NOTE_ACTS).execute(connection).await?;
    }
    Ok(())
}

statement! {
    /// Writes acts: `note_acts.sql`
    pub(in crate::pg) struct NoteActs<'a> of several texts {
        ids: Vec<Uuid> as Array<SqlUuid>,
        times_of_day: Vec<DateTime<Utc>> as Array<Timestamptz>,
        kinds: Vec<&'static str> as Array<Text>,
        decisions: Vec<&'static str> as Array<Text>,
        reasons: Vec<&'a str> as Array<Text>,
        users: Vec<Option<Uuid>> as Array<Nullable<SqlUuid>>,
        agents: Vec<Option<Uuid>> as Array<Nullable<SqlUuid>>,
        workspaces: Vec<Option<Uuid>> as Array<Nullable<SqlUuid>>,
        subject_types: Vec<Option<&'static str>> as Array<Nullable<Text>>,
        subjects: Vec<Option<&'a str>> as Array<Nullable<Text>>,
        proofs: Vec<Option<&'a str>> as Array<Nullable<Text>>,
        ips: Vec<Option<Address>> as Array<Nullable<Inet>>,
        user_agents: Vec<Option<&'a str>> as Array<Nullable<Text>>,
        requests: Vec<Option<Uuid>> as Array<Nullable<SqlUuid>>,
        times: Vec<i64> as Array<BigInt>,
        details: Vec<Value> as Array<Jsonb>,
    }
}

impl<'a> NoteActs<'a> {
    pub(in crate::pg) fn of(rows: &BTreeMap<Uuid, (&'a Act, u64)>, sql: &'a Sql) -> Self {
        fn column<'a, T>(
            rows: &BTreeMap<Uuid, (&'a Act, u64)>,
            value: impl Fn(&'a Act) -> T,
        ) -> Vec<T> {
            rows.values().map(|&(act, _)| value(act)).collect()
        }
        Self {
            sql,
            ids: rows.keys().copied().collect(),
            times_of_day: column(rows, |act| act.time.into()),
            kinds: column(rows, |act| act.kind.as_str()),
            decisions: column(rows, |act| act.decision().as_str()),
            reasons: column(rows, |act| act.reason.as_deref().unwrap_or_default()),
            users: column(rows, |act| act.user.map(|id| id.0)),
            agents: column(rows, |act| act.agent.map(|id| id.0)),
            workspaces: column(rows, |act| act.workspace.map(|id| id.0)),
            subject_types: column(rows, |act| act.subject.as_ref().map(|of| of.kind.as_str())),
            subjects: column(rows, |act| act.subject.as_ref().map(|of| of.name.as_str())),
            proofs: column(rows, |act| act.proof.as_deref()),
            ips: column(rows, |act| act.ip.map(Address)),
            user_agents: column(rows, |act| act.user_agent.as_deref()),
            requests: column(rows, |act| act.request),
            times: rows.values().map(|&(_, times)| bigint(times)).collect(),
            details: column(rows, |act| Value::Object(act.detail.clone())),
        }
    }
}

statement! {
    /// Adds to how often acts were done: `count_acts.sql`
    struct CountActs<'a> {
        ids: Vec<Uuid> as Array<SqlUuid>,
        times: Vec<i64> as Array<BigInt>,
    }
}

statement! {
    /// Deletes the oldest acts: `forget_acts.sql`
    struct ForgetActs<'a> {
        from: DateTime<Utc> as Timestamptz,
        keep: PgInterval as Interval,
        at_most: i64 as BigInt,
    } -> (BigInt, Nullable<Timestamptz>)
}

pub(in crate::pg) static NOTE_ACTS: LazyLock<Sql> =
    LazyLock::new(|| Sql::plain(include_str!("../sql/note_acts.sql")));

static REPLAY_ACTS: LazyLock<Sql> = LazyLock::new(|| {
    Sql::new(include_str!("../sql/note_acts.sql"), Generation::NEWEST, &["replayed"])
});

static COUNT_ACTS: LazyLock<Sql> =
    LazyLock::new(|| Sql::plain(include_str!("../sql/count_acts.sql")));

static FORGET_ACTS: LazyLock<Sql> =
    LazyLock::new(|| Sql::plain(include_str!("../sql/forget_acts.sql")));

/// Without an error if the table does not exist
const MAY_WRITE: &str = "\
coalesce(has_any_column_privilege(to_regclass('authd_acts'), 'INSERT'), false) \
AND NOT pg_is_in_recovery()";

/// As many as a recorder notes in one statement
const BATCH: usize = 256;

/// The rights that writing acts needs
pub(in crate::pg) const NOTE: &[Need] = &[
    Need::insert(
        "authd_acts",
        "id time kind decision reason user_id agent_id workspace_id subject_type subject proof ip \
         user_agent request_id times detail",
    ),
    Need::select("authd_acts", "id request_id times"),
    Need::update("authd_acts", "times"),
];

/// The rights that deleting old acts needs
pub(in crate::pg) const FORGET: &[Need] = &[
    Need::select("authd_acts", "id time"),
    Need::delete("authd_acts"),
    // Locking a row needs the right to change one of its columns.
    Need::update("authd_acts", "times"),
];
