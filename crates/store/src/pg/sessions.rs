use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

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
use super::schema::users;
use super::sql::Sql;
use super::tables::{Need, Statement};
use super::values::Moment;
use crate::{Error, domain};

impl Sessions for PgStore {
    type Error = Error;

    async fn holders(&self, tokens: &[SessionToken]) -> Result<Vec<KeyHolder>, Error> {
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = tokens.iter().map(SessionToken::id).collect();
        let holders = self.access.run(async |connection: Arc<Connection>| {
            let sql = connection.sql(Statement::Holders)?;
            Holders { sql, ids: &ids }.load::<HolderRow>(&mut &connection.inner).await
        });
        Ok(holders.await?.into_iter().map(|HolderRow(holder)| holder).collect())
    }

    async fn username(&self, user: UserId) -> Result<Option<String>, Error> {
        let username = self.access.run(async |connection: Arc<Connection>| {
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
        self.writes.run(async |connection| statement.execute(connection).await).await?;
        Ok(())
    }

    async fn insert(&self, key: &NewKey<'_>) -> Result<(), Error> {
        let digest = key.token.secret_digest();
        let (ip, scope) = (address(key.ip), key.scope.to_string());
        let allow_list = domain::allow_entries(key.allow_list)?;
        let mut tries = 0;
        loop {
            let mut connection = self.writes.get().await?;
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
                };
                statement.execute(&mut *connection).await
            };
            let outcome = outcome.await;
            let stored = matches!(outcome, Ok(1..));
            if connection.done(outcome, began, &mut tries).await? {
                let unlimited = || Error::query("the table of keys holds no limits to objects");
                return if stored { Ok(()) } else { Err(unlimited()) };
            }
        }
    }

    async fn log_out(&self, key: &ApiKey, others: OtherSessions) -> Result<(), Error> {
        let with_apps = others == OtherSessions::EndOfApps;
        let mut tries = 0;
        loop {
            let mut connection = self.writes.get().await?;
            let (tables, began) = (connection.tables(), Instant::now());
            let outcome = async {
                let sql = tables.sql(Statement::LogOut)?;
                let statement = LogOut { sql, user: key.user.0, id: &key.id, with_apps };
                statement.execute(&mut *connection).await
            };
            let outcome = outcome.await;
            if connection.done(outcome, began, &mut tries).await? {
                return Ok(());
            }
        }
    }
}

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
    }
}

statement! {
    /// Deletes a key, and perhaps its user's keys for apps: `log_out.sql`
    struct LogOut<'a> {
        user: Uuid as SqlUuid,
        id: &'a str as Text,
        with_apps: bool as Bool,
    }
}

/// The rights that [`UseSession`] needs
pub(super) const USE: &[Need] = &[
    Need::select("api_keys", "id user_id last_used expires_at ip_address"),
    Need::update("api_keys", "last_used expires_at ip_address"),
    Need::select("users", "id last_seen_at"),
    Need::update("users", "last_seen_at"),
];

/// The rights that the name of a user needs
pub(super) const USERNAME: &[Need] = &[Need::select("users", "id username deleted")];

/// How the database executes the search for the holder of one key
#[cfg(test)]
pub(super) async fn explained(connection: &Connection, id: &str) -> QueryResult<serde_json::Value> {
    let sql = connection.sql(Statement::Holders)?;
    super::plans::Explain(Holders { sql, ids: &[id] }).load(connection).await
}
