use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use app_authz::UserId;
use app_authz::credential::{
    ApiKey, KeyHolder, KeyUpdate, NewKey, OtherSessions, SessionToken, Sessions,
};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment};
use diesel::sql_types::{Array, BigInt, Bool, Bytea, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::connect::Connection;
use super::holders::{HOLDER, HOLDER_OF_KEY, HolderColumns, HolderRow};
use super::schema::users;
use super::tables::{Need, Question, push};
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
            let text = connection.text(Question::Holders)?;
            Holders { text, ids: &ids }.load::<HolderRow>(&mut &connection.inner).await
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
        let statement = Use {
            id: &key.id,
            old: (Moment(key.last_used), Moment(key.expires_at)),
            new: (update.last_used.map(Moment), update.expires_at.map(Moment)),
            seen_at: domain::seen_at(key, update).map(Moment),
            ip: address(ip),
        };
        self.writes.run(async |connection| statement.execute(connection).await).await?;
        Ok(())
    }

    async fn insert(&self, key: &NewKey<'_>) -> Result<(), Error> {
        let statement = Row {
            id: key.token.id(),
            digest: key.token.secret_digest(),
            user: key.user.0,
            created_at: Moment(key.created_at),
            expires_at: Moment(key.expires_at),
            login_type: key.login_type.as_str(),
            lifetime: i64::try_from(key.lifetime.as_secs()).unwrap_or(i64::MAX),
            ip: address(key.ip),
            scope: key.scope.to_string(),
            allow_list: domain::allow_entries(key.allow_list)?,
            name: key.name,
        };
        let mut tries = 0;
        loop {
            let mut connection = self.writes.get().await?;
            let (tables, began) = (connection.tables(), Instant::now());
            let outcome = async {
                let text = tables.text(Question::NewKey)?;
                Insert { text, key: &statement }.execute(&mut *connection).await
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
                let text = tables.text(Question::LogOut)?;
                let statement = LogOut { text, id: &key.id, user: key.user.0, with_apps };
                statement.execute(&mut *connection).await
            };
            let outcome = outcome.await;
            if connection.done(outcome, began, &mut tries).await? {
                return Ok(());
            }
        }
    }
}

/// An address as text, which is unspecified where none is known
fn address(ip: Option<IpAddr>) -> String {
    ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).to_canonical().to_string()
}

/// The holders of keys
struct Holders<'a> {
    text: &'a [String],
    ids: &'a [&'a str],
}

/// The template of [`Holders`]
pub(super) fn holders() -> String {
    format!(
        "\
SELECT
{HOLDER}
FROM unnest($1) AS asked (key_id)
JOIN {HOLDER_OF_KEY}
--guard
"
    )
}

impl QueryFragment<Pg> for Holders<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut text = self.text.iter();
        push(&mut out, &mut text);
        out.push_bind_param::<Array<Text>, _>(self.ids)?;
        push(&mut out, &mut text);
        Ok(())
    }
}

prepared_once!(Holders<'_>);

impl Query for Holders<'_> {
    type SqlType = HolderColumns;
}

/// Notes that a key was used, unless that was noted since the key was read
///
/// Of requests that read the key at the same time one writes, and the others find it
/// changed. The user is locked before the key, as the control plane does when it deletes a
/// user: in the other order the two could wait for each other.
struct Use<'a> {
    id: &'a str,
    /// When it was last used and when it ends, as it was read
    old: (Moment, Moment),
    new: (Option<Moment>, Option<Moment>),
    seen_at: Option<Moment>,
    ip: String,
}

impl QueryFragment<Pg> for Use<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "\
WITH holder AS MATERIALIZED (
    SELECT k.id FROM api_keys k JOIN users u ON u.id = k.user_id
    WHERE k.id = ",
        );
        out.push_bind_param::<Text, _>(self.id)?;
        out.push_sql(
            "
    FOR NO KEY UPDATE OF u
), used AS (
    UPDATE api_keys k
    SET last_used = coalesce(new.last_used, k.last_used),
        expires_at = coalesce(new.expires_at, k.expires_at),
        ip_address = CASE WHEN new.last_used IS NULL THEN k.ip_address ELSE new.ip::inet END
    FROM holder, (VALUES (",
        );
        out.push_bind_param::<Nullable<Timestamptz>, _>(&self.new.0)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Timestamptz>, _>(&self.new.1)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&self.ip)?;
        out.push_sql(
            ")) AS new (last_used, expires_at, ip)
    WHERE k.id = holder.id AND k.last_used <= ",
        );
        out.push_bind_param::<Timestamptz, _>(&self.old.0)?;
        out.push_sql(" AND k.expires_at <= ");
        out.push_bind_param::<Timestamptz, _>(&self.old.1)?;
        out.push_sql(
            "
    RETURNING k.user_id
)
UPDATE users SET last_seen_at = greatest(last_seen_at, ",
        );
        out.push_bind_param::<Nullable<Timestamptz>, _>(&self.seen_at)?;
        out.push_sql(") FROM used WHERE users.id = used.user_id");
        Ok(())
    }
}

prepared_once!(Use<'_>);

/// A new key; the table itself refuses one for a user who is unknown or deleted
struct Insert<'a> {
    text: &'a [String],
    key: &'a Row<'a>,
}

/// What a new key is
struct Row<'a> {
    id: &'a str,
    digest: [u8; 32],
    user: Uuid,
    created_at: Moment,
    expires_at: Moment,
    login_type: &'a str,
    lifetime: i64,
    ip: String,
    scope: String,
    allow_list: Vec<String>,
    name: &'a str,
}

/// The template of [`Insert`]
///
/// The label of a scope is looked up among those that its type has: releases of v2.27 may
/// spell it either way. Before v2.27 a key cannot be limited to objects, and one that is to
/// be is not inserted.
pub(super) const NEW_KEY: &str = "\
INSERT INTO api_keys (created_at, updated_at, last_used, id, hashed_secret, user_id, expires_at,
                      login_type, lifetime_seconds, ip_address, token_name
                      , scope  --until v2.27
                      , scopes, allow_list  --since v2.27
                      )
SELECT new.now, new.now, new.now, new.id, new.digest, new.user_id, new.expires_at,
       new.login_type::login_type, new.lifetime, new.ip::inet, new.name
       , label.scope::api_key_scope  --until v2.27
       , ARRAY[label.scope::api_key_scope], new.allow_list  --since v2.27
FROM (VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)) AS new
    (now, id, digest, user_id, expires_at, login_type, lifetime, ip, scope, name, allow_list),
LATERAL (
    SELECT CASE WHEN EXISTS (
        SELECT FROM pg_enum
        WHERE enumtypid = 'api_key_scope'::regtype AND enumlabel = new.scope
    ) THEN new.scope ELSE replace(new.scope, 'coder:', '') END AS scope
) label
WHERE new.allow_list = '{*:*}'  --until v2.27
";

impl QueryFragment<Pg> for Insert<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let (mut text, key) = (self.text.iter(), self.key);
        push(&mut out, &mut text);
        out.push_bind_param::<Timestamptz, _>(&key.created_at)?;
        push(&mut out, &mut text);
        out.push_bind_param::<Text, _>(key.id)?;
        push(&mut out, &mut text);
        out.push_bind_param::<Bytea, _>(&key.digest[..])?;
        push(&mut out, &mut text);
        out.push_bind_param::<SqlUuid, _>(&key.user)?;
        push(&mut out, &mut text);
        out.push_bind_param::<Timestamptz, _>(&key.expires_at)?;
        push(&mut out, &mut text);
        out.push_bind_param::<Text, _>(key.login_type)?;
        push(&mut out, &mut text);
        out.push_bind_param::<BigInt, _>(&key.lifetime)?;
        for texts in [&key.ip, &key.scope] {
            push(&mut out, &mut text);
            out.push_bind_param::<Text, _>(texts)?;
        }
        push(&mut out, &mut text);
        out.push_bind_param::<Text, _>(key.name)?;
        push(&mut out, &mut text);
        out.push_bind_param::<Array<Text>, _>(&key.allow_list)?;
        push(&mut out, &mut text);
        Ok(())
    }
}

prepared_once!(Insert<'_>);

/// Ends a session, and perhaps those of its user that are for apps alone
struct LogOut<'a> {
    text: &'a [String],
    id: &'a str,
    user: Uuid,
    with_apps: bool,
}

/// The template of [`LogOut`]
pub(super) const LOG_OUT: &str = "\
DELETE FROM api_keys
WHERE user_id = $1 AND (id = $2 OR $3 AND
    scope::text IN ('application_connect', 'coder:application_connect')  --until v2.27
    scopes::text[] && '{application_connect,coder:application_connect}'  --since v2.27
)
";

impl QueryFragment<Pg> for LogOut<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut text = self.text.iter();
        push(&mut out, &mut text);
        out.push_bind_param::<SqlUuid, _>(&self.user)?;
        push(&mut out, &mut text);
        out.push_bind_param::<Text, _>(self.id)?;
        push(&mut out, &mut text);
        out.push_bind_param::<Bool, _>(&self.with_apps)?;
        push(&mut out, &mut text);
        Ok(())
    }
}

prepared_once!(LogOut<'_>);

/// The rights that [`Use`] takes
pub(super) const USE: &[Need] = &[
    Need::select("api_keys", "id user_id last_used expires_at ip_address"),
    Need::update("api_keys", "last_used expires_at ip_address"),
    Need::select("users", "id last_seen_at"),
    Need::update("users", "last_seen_at"),
];

/// The rights that the name of a user takes
pub(super) const USERNAME: &[Need] = &[Need::select("users", "id username deleted")];

/// How the database finds the holder of one key
#[cfg(test)]
pub(super) async fn explained(connection: &Connection, id: &str) -> QueryResult<serde_json::Value> {
    let text = connection.text(Question::Holders)?;
    super::plans::Explain(Holders { text, ids: &[id] }).load(connection).await
}
