use std::sync::Arc;

use app_authz::{ProxyToken, UserId};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::connect::Connection;
use super::schema::{api_keys, users, workspace_proxies};
use super::tables::{Need, Statement};
use crate::Error;

/// What an operator asks about sessions and proxies; none of it is on a request's path
impl PgStore {
    /// The user of that name, in any case, unless deleted
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`].
    pub async fn user_named(&self, name: &str) -> Result<Option<UserId>, Error> {
        let mut connection = self.writes.get().await?;
        let found = users::table
            .filter(lower(users::username).eq(name.to_lowercase()).and(users::deleted.eq(false)))
            .select(users::id)
            .first(&mut *connection)
            .await
            .optional()?;
        Ok(found.map(UserId))
    }

    /// Sessions, of one user or of all, the newest first
    ///
    /// At most 10,000.
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`].
    pub async fn sessions(&self, user: Option<UserId>) -> Result<Vec<SessionRow>, Error> {
        let user = user.map(|UserId(id)| id);
        let rows = self.reads.run(async |connection: Arc<Connection>| {
            let sql = connection.sql(Statement::Sessions)?;
            ListSessions { sql, user }.load::<SessionRow>(&mut &connection.inner).await
        });
        rows.await
    }

    /// Ends a session; whether there was one
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`].
    pub async fn revoke(&self, id: &str) -> Result<bool, Error> {
        let mut connection = self.writes.get().await?;
        let ended = diesel::delete(api_keys::table.find(id)).execute(&mut *connection).await?;
        Ok(ended > 0)
    }

    /// Gives a proxy what it is to prove itself with from now on; whether there is one
    ///
    /// # Errors
    ///
    /// [`Error::ControlPlane`] if the proxy is a control plane's, and the options do not allow
    /// to change that: it is cut off until it has the new token. [`Error::Query`],
    /// [`Error::Unavailable`].
    pub async fn set_proxy_token(&self, token: &ProxyToken) -> Result<bool, Error> {
        if !self.may_change_rows().await? {
            let changes = format!("the token of the proxy {} in workspace_proxies", token.id());
            return Err(Error::ControlPlane { changes });
        }
        let mut connection = self.writes.get().await?;
        let proxy = workspace_proxies::table.find(token.id());
        let changed = diesel::update(proxy)
            .set(workspace_proxies::token_hashed_secret.eq(token.secret_digest().to_vec()))
            .execute(&mut *connection)
            .await?;
        Ok(changed > 0)
    }
}

statement! {
    /// The sessions of a user, or of all: `list_sessions.sql`
    struct ListSessions<'a> {
        user: Option<Uuid> as Nullable<SqlUuid>,
    } -> (
        Text,
        Text,
        SqlUuid,
        Text,
        Array<Text>,
        Array<Nullable<Text>>,
        Text,
        Timestamptz,
        Timestamptz,
        Timestamptz,
    )
}

/// A session as an operator sees it: without its secret
#[derive(Clone, Debug, PartialEq, Queryable)]
#[non_exhaustive]
pub struct SessionRow {
    /// The public part of its token
    pub id: String,
    /// The name of the user whom it stands for
    pub username: String,
    /// The user whom it stands for
    pub user_id: Uuid,
    /// How the user signed in for it, as the control plane spells it
    pub login_type: String,
    /// What it may do, such as `coder:all`
    pub scopes: Vec<String>,
    /// What it may touch, such as `*:*`
    pub allow_list: Vec<Option<String>>,
    /// What its user calls it
    pub token_name: String,
    /// When it was made
    pub created_at: DateTime<Utc>,
    /// When it was last used, give or take an hour
    pub last_used: DateTime<Utc>,
    /// When it ends
    pub expires_at: DateTime<Utc>,
}

diesel::define_sql_function!(fn lower(text: diesel::sql_types::Text) -> diesel::sql_types::Text);

/// The rights that [`PgStore::user_named`] takes
pub(super) const USER_BY_NAME: &[Need] = &[Need::select("users", "id username deleted")];

/// The rights that [`PgStore::revoke`] and [`PgStore::set_proxy_token`] take
pub(super) const TOKENS: &[Need] = &[
    Need::select("api_keys", "id"),
    Need::delete("api_keys"),
    Need::select("workspace_proxies", "id name"),
    Need::update("workspace_proxies", "token_hashed_secret"),
];
