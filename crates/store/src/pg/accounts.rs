use std::sync::{Arc, LazyLock};

use app_audit::{Act, SubjectKind};
use app_authz::UserId;
use app_authz::credential::{NewKey, Sessions};
use app_authz::proxy::ProxyToken;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use serde::Serialize;
use uuid::Uuid;

use super::PgStore;
use super::acts::note_in;
use super::connect::Connection;
use super::schema::{users, workspace_proxies};
use super::sql::Sql;
use super::tables::{Need, Statement, Tables};
use crate::Error;
use crate::facts::Question;

/// Sessions and proxies, for an operator and not for requests
impl PgStore {
    /// Finds a user by name, which is not case-sensitive; deleted users are not found
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

    /// Lists the sessions of one user or of all users, the newest first
    ///
    /// Returns at most [`MAX_LISTED`](crate::MAX_LISTED).
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

    /// Adds a key as [`Sessions::insert`] does, and records it as this act, with the id of the key
    /// and its user and scope
    ///
    /// # Errors
    ///
    /// Those of [`Sessions::insert`]. The key may exist although it could not be recorded, so its
    /// token is not to be shown to anyone then.
    pub async fn insert_recorded(&self, key: &NewKey<'_>, act: Act) -> Result<(), Error> {
        self.insert(key).await?;
        let act = act
            .user(key.user.0)
            .subject(SubjectKind::Token, key.token.id())
            .detail("scope", &key.scope.to_string());
        let note = async |connection: &mut AsyncPgConnection, tables: &Tables| {
            note_in(&act, tables, connection).await
        };
        self.writes.ask_by_tables(Question::Other, note).await
    }

    /// Deletes a session and those that were made from it
    ///
    /// Returns the ids of the keys that were deleted; empty if the session does not exist.
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`].
    pub async fn revoke(&self, id: &str) -> Result<Vec<String>, Error> {
        let revoke = Revoke { sql: &REVOKE, id };
        self.writes.run(async |connection| revoke.load(connection).await).await
    }

    /// Does the same and records it as this act, with the id, if there was something to delete
    ///
    /// # Errors
    ///
    /// Those of [`revoke`](Self::revoke). Nothing is deleted that cannot be recorded, except beside
    /// a control plane whose database has no table of acts.
    pub async fn revoke_recorded(&self, id: &str, act: Act) -> Result<Vec<String>, Error> {
        let act = act.subject(SubjectKind::Token, id);
        let revoke = async |connection: &mut AsyncPgConnection, tables: &Tables| {
            let ended = connection.transaction(async |connection| {
                let ended: Vec<String> = Revoke { sql: &REVOKE, id }.load(connection).await?;
                if !ended.is_empty() {
                    note_in(&act, tables, connection).await?;
                }
                QueryResult::Ok(ended)
            });
            ended.await
        };
        self.writes.ask_by_tables(Question::Other, revoke).await
    }

    /// Replaces the token of a proxy, and returns whether the proxy exists
    ///
    /// # Errors
    ///
    /// [`Error::ControlPlane`] if the proxy belongs to a control plane and the options do not
    /// allow changing its rows: the proxy could not connect until it has the new token.
    /// [`Error::Query`], [`Error::Unavailable`].
    pub async fn set_proxy_token(&self, token: &ProxyToken) -> Result<bool, Error> {
        self.set_proxy_token_recorded(token, None).await
    }

    /// Does the same and records it as this act, if the proxy exists
    ///
    /// # Errors
    ///
    /// Those of [`set_proxy_token`](Self::set_proxy_token). The token of a proxy is not replaced if
    /// that cannot be recorded, except beside a control plane whose database has no table of acts.
    pub async fn set_proxy_token_recorded(
        &self,
        token: &ProxyToken,
        act: Option<&Act>,
    ) -> Result<bool, Error> {
        if !self.may_change_rows().await? {
            let changes = format!("the token of the proxy {} in workspace_proxies", token.id());
            return Err(Error::ControlPlane { changes });
        }
        let replace = async |connection: &mut AsyncPgConnection, tables: &Tables| {
            let changed = connection.transaction(async |connection| {
                let proxy = workspace_proxies::table.find(token.id());
                let changed = diesel::update(proxy)
                    .set(workspace_proxies::token_hashed_secret.eq(token.secret_digest().to_vec()))
                    .execute(connection)
                    .await?;
                if let Some(act) = act.filter(|_| changed > 0) {
                    note_in(act, tables, connection).await?;
                }
                QueryResult::Ok(changed > 0)
            });
            changed.await
        };
        self.writes.ask_by_tables(Question::Other, replace).await
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
        Nullable<Text>,
    )
}

statement! {
    /// Deletes a session and those that were made from it: `revoke.sql`
    struct Revoke<'a> {
        id: &'a str as Text,
    } -> Text
}

static REVOKE: LazyLock<Sql> = LazyLock::new(|| Sql::plain(include_str!("sql/revoke.sql")));

/// A session as an operator sees it: without its secret
#[derive(Clone, Debug, PartialEq, Queryable, Serialize)]
#[non_exhaustive]
pub struct SessionRow {
    /// The public part of the session token
    pub id: String,
    /// The name of the session's user
    pub username: String,
    /// The session's user
    pub user_id: Uuid,
    /// How the user signed in, as the control plane spells it
    pub login_type: String,
    /// The scopes of the session, such as `coder:all`
    pub scopes: Vec<String>,
    /// The objects that the session is limited to, such as `*:*`
    pub allow_list: Vec<Option<String>>,
    /// The name that the user gave the session; empty for a sign-in
    pub token_name: String,
    /// When the session was created
    pub created_at: DateTime<Utc>,
    /// When the session was last used, to within an hour
    pub last_used: DateTime<Utc>,
    /// When the session expires
    pub expires_at: DateTime<Utc>,
    /// The session that this one was made from, and ends with
    pub parent_id: Option<String>,
}

diesel::define_sql_function!(fn lower(text: diesel::sql_types::Text) -> diesel::sql_types::Text);

/// The rights that [`PgStore::user_named`] needs
pub(super) const USER_BY_NAME: &[Need] = &[Need::select("users", "id username deleted")];

/// The rights that [`PgStore::revoke`] and [`PgStore::set_proxy_token`] need
pub(super) const TOKENS: &[Need] = &[
    Need::select("api_keys", "id user_id"),
    Need::update("api_keys", "expires_at"),
    Need::delete("api_keys"),
    Need::select("authd_app_sessions", "key_id parent_id user_id"),
    Need::delete("authd_app_sessions"),
    Need::select("workspace_proxies", "id name"),
    Need::update("workspace_proxies", "token_hashed_secret"),
];
