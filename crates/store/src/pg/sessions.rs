use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};
use std::time::{Instant, SystemTime};

use app_authz::UserId;
use app_authz::credential::{
    ApiKey, KeyHolder, KeyUpdate, NewKey, OtherSessions, SessionToken, Sessions,
};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Bytea, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::connect::Connection;
use super::holders::{HolderColumns, HolderRow};
use super::listener::Waiting;
use super::schema::users;
use super::sql::Sql;
use super::tables::{Need, Statement};
use super::values::Moment;
use crate::facts::Question;
use crate::{Error, domain};

impl Sessions for PgStore {
    type Error = Error;

    async fn holders(&self, tokens: &[SessionToken]) -> Result<Vec<KeyHolder>, Error> {
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = tokens.iter().map(SessionToken::id).collect();
        let holders = self.access.ask(Question::Holders, async |connection: Arc<Connection>| {
            let sql = connection.sql(Statement::Holders)?;
            Holders { sql, ids: &ids }.load::<HolderRow>(&mut &connection.inner).await
        });
        Ok(holders.await?.into_iter().map(|HolderRow(holder)| holder).collect())
    }

    async fn username(&self, user: UserId) -> Result<Option<String>, Error> {
        let username = self.access.ask(Question::Username, async |connection: Arc<Connection>| {
            users::table
                .filter(users::id.eq(user.0).and(users::deleted.eq(false)))
                .select(users::username)
                .first(&mut &connection.inner)
                .await
                .optional()
        });
        username.await
    }

    async fn update(
        &self,
        key: &ApiKey,
        update: KeyUpdate,
        ip: Option<IpAddr>,
    ) -> Result<(), Error> {
        let statement = UseSession {
            sql: &USE_SESSION,
            id: &key.id,
            last_used: update.last_used.map(Moment),
            expires_at: update.expires_at.map(Moment),
            ip: address(ip),
            last_used_before: Moment(key.last_used),
            expires_at_before: Moment(key.expires_at),
            seen_at: domain::seen_at(key, update).map(Moment),
        };
        let used = async |connection: &mut _| statement.execute(connection).await;
        self.writes.ask(Question::UseSession, used).await?;
        Ok(())
    }

    async fn insert(&self, key: &NewKey<'_>) -> Result<(), Error> {
        let digest = key.token.secret_digest();
        let (ip, scope) = (address(key.ip), key.scope.to_string());
        let allow_list = domain::allow_entries(key.allow_list)?;
        let mut tries = 0;
        loop {
            let mut connection = self.writes.get_for(Question::NewSession).await?;
            let (tables, began) = (connection.tables(), Instant::now());
            let outcome = async {
                let statement = NewSession {
                    sql: tables.sql(Statement::NewSession)?,
                    created_at: Moment(key.created_at),
                    id: key.token.id(),
                    digest: &digest,
                    user: key.user.0,
                    expires_at: Moment(key.expires_at),
                    login_type: key.login_type.as_str(),
                    lifetime: i64::try_from(key.lifetime.as_secs()).unwrap_or(i64::MAX),
                    ip: &ip,
                    scope: &scope,
                    name: key.name,
                    allow_list: &allow_list,
                    parent: key.parent,
                };
                statement.get_result::<i64>(&mut *connection).await
            };
            let outcome = outcome.await;
            match connection.done(outcome, began, &mut tries).await? {
                Some(1..) => return Ok(()),
                Some(_) => return Err(Error::query(NOT_ADDED)),
                None => {}
            }
        }
    }

    async fn give(&self, id: &str, now: SystemTime) -> Result<bool, Error> {
        let statement = GiveSession { sql: &GIVE_SESSION, now: Moment(now), id };
        let given = async |connection: &mut _| statement.execute(connection).await;
        Ok(self.writes.ask(Question::GiveSession, given).await? == 1)
    }

    async fn log_out(&self, key: &ApiKey, others: OtherSessions) -> Result<Vec<String>, Error> {
        let with_apps = others == OtherSessions::EndOfApps;
        let mut tries = 0;
        loop {
            let mut connection = self.writes.get_for(Question::LogOut).await?;
            let (tables, began) = (connection.tables(), Instant::now());
            let outcome = async {
                let sql = tables.sql(Statement::LogOut)?;
                let statement = LogOut { sql, user: key.user.0, id: &key.id, with_apps };
                statement.load::<String>(&mut *connection).await
            };
            let outcome = outcome.await;
            if let Some(ended) = connection.done(outcome, began, &mut tries).await? {
                return Ok(ended);
            }
        }
    }

    async fn ended(&self, ids: &[&str], now: SystemTime) -> Result<Vec<String>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ended = self.watch.ask(Question::EndedSessions, async |connection: Arc<Connection>| {
            let statement = EndedSessions { sql: &ENDED_SESSIONS, ids, now: Moment(now) };
            statement.load::<String>(&mut &connection.inner).await
        });
        ended.await
    }

    async fn next_end(&self) -> Result<(), Error> {
        self.listener.heard(&self.connector, Waiting::Sessions).await
    }

    async fn forget_ended(&self, now: SystemTime, at_most: u32) -> Result<u64, Error> {
        let forget = ForgetAppSessions {
            sql: &FORGET_APP_SESSIONS,
            now: Moment(now),
            at_most: at_most.into(),
        };
        let deleted = async |connection: &mut _| forget.execute(connection).await;
        let rows = self.writes.ask(Question::Housekeeping, deleted).await?;
        Ok(u64::try_from(rows).unwrap_or_default())
    }
}

/// Why `new_session.sql` may add nothing
const NOT_ADDED: &str =
    "the session that the key is made from has ended, or the table holds no limits to objects";

/// An address as text; the unspecified address if it is not known
fn address(ip: Option<IpAddr>) -> String {
    ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).to_canonical().to_string()
}

statement! {
    /// The holders of keys: `holders.sql`
    struct Holders<'a> {
        ids: &'a [&'a str] as Array<Text>,
    } -> HolderColumns
}

statement! {
    /// Records that a key was used: `use_session.sql`
    struct UseSession<'a> {
        id: &'a str as Text,
        last_used: Option<Moment> as Nullable<Timestamptz>,
        expires_at: Option<Moment> as Nullable<Timestamptz>,
        ip: String as Text,
        last_used_before: Moment as Timestamptz,
        expires_at_before: Moment as Timestamptz,
        seen_at: Option<Moment> as Nullable<Timestamptz>,
    }
}

static USE_SESSION: LazyLock<Sql> =
    LazyLock::new(|| Sql::plain(include_str!("sql/use_session.sql")));

statement! {
    /// Notes that a key is given to its browser: `give_session.sql`
    struct GiveSession<'a> {
        now: Moment as Timestamptz,
        id: &'a str as Text,
    }
}

static GIVE_SESSION: LazyLock<Sql> =
    LazyLock::new(|| Sql::plain(include_str!("sql/give_session.sql")));

statement! {
    /// Adds a key: `new_session.sql`
    struct NewSession<'a> {
        created_at: Moment as Timestamptz,
        id: &'a str as Text,
        digest: &'a [u8] as Bytea,
        user: Uuid as SqlUuid,
        expires_at: Moment as Timestamptz,
        login_type: &'a str as Text,
        lifetime: i64 as BigInt,
        ip: &'a str as Text,
        scope: &'a str as Text,
        name: &'a str as Text,
        allow_list: &'a [String] as Array<Text>,
        parent: Option<&'a str> as Nullable<Text>,
    } -> BigInt
}

statement! {
    /// Deletes a key, those that were made from it, and perhaps others: `log_out.sql`
    struct LogOut<'a> {
        user: Uuid as SqlUuid,
        id: &'a str as Text,
        with_apps: bool as Bool,
    } -> Text
}

statement! {
    /// The keys that do not count: `ended_sessions.sql`
    struct EndedSessions<'a> {
        ids: &'a [&'a str] as Array<Text>,
        now: Moment as Timestamptz,
    } -> Text
}

statement! {
    /// Deletes keys that were made from others and have ended: `forget_app_sessions.sql`
    struct ForgetAppSessions<'a> {
        now: Moment as Timestamptz,
        at_most: i64 as BigInt,
    }
}

static ENDED_SESSIONS: LazyLock<Sql> =
    LazyLock::new(|| Sql::plain(include_str!("sql/ended_sessions.sql")));

static FORGET_APP_SESSIONS: LazyLock<Sql> =
    LazyLock::new(|| Sql::plain(include_str!("sql/forget_app_sessions.sql")));

/// The rights that [`UseSession`] needs
pub(super) const USE: &[Need] = &[
    Need::select("api_keys", "id user_id last_used expires_at ip_address lifetime_seconds"),
    Need::update("api_keys", "last_used expires_at ip_address"),
    Need::select("users", "id last_seen_at"),
    Need::update("users", "last_seen_at"),
    Need::select("authd_app_sessions", "key_id parent_id user_id"),
];

/// The rights that [`GiveSession`] needs
pub(super) const GIVE: &[Need] = &[
    Need::select("authd_app_sessions", "key_id opened_at"),
    Need::update("authd_app_sessions", "opened_at"),
];

/// The rights that [`EndedSessions`] needs
pub(super) const ENDED: &[Need] = &[
    Need::select("api_keys", "id user_id expires_at"),
    Need::select("users", "id deleted status"),
    Need::select("authd_app_sessions", "key_id parent_id"),
];

/// The rights that [`ForgetAppSessions`] needs
///
/// The statement locks rows, which needs the right to change one of their columns.
pub(super) const FORGET: &[Need] = &[
    Need::select("api_keys", "id expires_at"),
    Need::update("api_keys", "expires_at"),
    Need::delete("api_keys"),
    Need::select("authd_app_sessions", "key_id parent_id"),
    Need::update("authd_app_sessions", "opened_at"),
    Need::delete("authd_app_sessions"),
];

/// The rights that the name of a user needs
pub(super) const USERNAME: &[Need] = &[Need::select("users", "id username deleted")];

/// How the database executes the search for the holder of one key
#[cfg(test)]
pub(super) async fn explained(connection: &Connection, id: &str) -> QueryResult<serde_json::Value> {
    let sql = connection.sql(Statement::Holders)?;
    super::plans::Explain(Holders { sql, ids: &[id] }).load(connection).await
}
