use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use app_authz::UserId;
use app_authz::credential::{ApiKey, KeyHolder, KeyUpdate, NewKey, SessionToken, Sessions};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment};
use diesel::sql_types::{Array, BigInt, Bytea, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::connect::Connection;
use super::holders::{HOLDER, HOLDER_OF_KEY, HolderColumns, HolderRow};
use super::schema::users;
use super::values::Moment;
use crate::{Error, domain};

impl Sessions for PgStore {
    type Error = Error;

    async fn holders(&self, tokens: &[SessionToken]) -> Result<Vec<KeyHolder>, Error> {
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = tokens.iter().map(SessionToken::id).collect();
        let holders = self.reads.run(async |connection: Arc<Connection>| {
            Holders { ids: &ids }.load::<HolderRow>(&mut &connection.inner).await
        });
        Ok(holders.await?.into_iter().map(|HolderRow(holder)| holder).collect())
    }

    async fn username(&self, user: UserId) -> Result<Option<String>, Error> {
        let username = self.reads.run(async |connection: Arc<Connection>| {
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
        statement.execute(&mut *self.writes.get().await?).await?;
        Ok(())
    }

    async fn insert(&self, key: &NewKey<'_>) -> Result<(), Error> {
        let statement = Insert {
            id: key.token.id(),
            digest: key.token.secret_digest(),
            user: key.user.0,
            created_at: Moment(key.created_at),
            expires_at: Moment(key.expires_at),
            login_type: key.login_type.as_str(),
            lifetime: i64::try_from(key.lifetime.as_secs()).unwrap_or(i64::MAX),
            ip: address(key.ip),
            scope: domain::scope_label(&key.scope)?,
            name: key.name,
        };
        statement.execute(&mut *self.writes.get().await?).await?;
        Ok(())
    }

    async fn log_out(&self, key: &ApiKey) -> Result<(), Error> {
        let statement = LogOut { id: &key.id, user: key.user.0 };
        statement.execute(&mut *self.writes.get().await?).await?;
        Ok(())
    }
}

/// An address as text, which is unspecified where none is known
fn address(ip: Option<IpAddr>) -> String {
    ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).to_canonical().to_string()
}

/// The holders of keys
struct Holders<'a> {
    ids: &'a [&'a str],
}

impl QueryFragment<Pg> for Holders<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        out.push_sql(HOLDER);
        out.push_sql("\nFROM unnest(");
        out.push_bind_param::<Array<Text>, _>(self.ids)?;
        out.push_sql(") AS asked (key_id)\nJOIN ");
        out.push_sql(HOLDER_OF_KEY);
        Ok(())
    }
}

prepared_once!(Holders);

impl Query for Holders<'_> {
    type SqlType = HolderColumns;
}

/// Notes that a key was used, unless that was noted since the key was read
///
/// Of requests that read the key at the same time one writes, and the others find it
/// changed.
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
WITH used AS (
    UPDATE api_keys
    SET last_used = coalesce(",
        );
        out.push_bind_param::<Nullable<Timestamptz>, _>(&self.new.0)?;
        out.push_sql(", last_used), expires_at = coalesce(");
        out.push_bind_param::<Nullable<Timestamptz>, _>(&self.new.1)?;
        out.push_sql(", expires_at), ip_address = ");
        out.push_bind_param::<Text, _>(&self.ip)?;
        out.push_sql("::inet\n    WHERE id = ");
        out.push_bind_param::<Text, _>(self.id)?;
        out.push_sql(" AND last_used <= ");
        out.push_bind_param::<Timestamptz, _>(&self.old.0)?;
        out.push_sql(" AND expires_at <= ");
        out.push_bind_param::<Timestamptz, _>(&self.old.1)?;
        out.push_sql(
            "
    RETURNING user_id
)
UPDATE users SET last_seen_at = greatest(last_seen_at, ",
        );
        out.push_bind_param::<Nullable<Timestamptz>, _>(&self.seen_at)?;
        out.push_sql(") FROM used WHERE users.id = used.user_id");
        Ok(())
    }
}

prepared_once!(Use);

/// A new key; the table itself refuses one for a user who is unknown or deleted
struct Insert<'a> {
    id: &'a str,
    digest: [u8; 32],
    user: Uuid,
    created_at: Moment,
    expires_at: Moment,
    login_type: &'a str,
    lifetime: i64,
    ip: String,
    scope: &'a str,
    name: &'a str,
}

impl QueryFragment<Pg> for Insert<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "\
INSERT INTO api_keys (created_at, updated_at, last_used, id, hashed_secret, user_id, expires_at,
                      login_type, lifetime_seconds, ip_address, scope, token_name)
SELECT now, now, now, ",
        );
        out.push_bind_param::<Text, _>(self.id)?;
        out.push_sql(", ");
        out.push_bind_param::<Bytea, _>(&self.digest[..])?;
        out.push_sql(", ");
        out.push_bind_param::<SqlUuid, _>(&self.user)?;
        out.push_sql(", ");
        out.push_bind_param::<Timestamptz, _>(&self.expires_at)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(self.login_type)?;
        out.push_sql("::login_type, ");
        out.push_bind_param::<BigInt, _>(&self.lifetime)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&self.ip)?;
        out.push_sql("::inet, ");
        out.push_bind_param::<Text, _>(self.scope)?;
        out.push_sql("::api_key_scope, ");
        out.push_bind_param::<Text, _>(self.name)?;
        out.push_sql("\nFROM (VALUES (");
        out.push_bind_param::<Timestamptz, _>(&self.created_at)?;
        out.push_sql(")) AS created (now)");
        Ok(())
    }
}

prepared_once!(Insert);

/// Ends a session, and those of its user that are for apps alone
struct LogOut<'a> {
    id: &'a str,
    user: Uuid,
}

impl QueryFragment<Pg> for LogOut<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("DELETE FROM api_keys WHERE user_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.user)?;
        out.push_sql(" AND (scope = 'application_connect' OR id = ");
        out.push_bind_param::<Text, _>(self.id)?;
        out.push_sql(")");
        Ok(())
    }
}

prepared_once!(LogOut);
