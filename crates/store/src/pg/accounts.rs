use app_authz::{ProxyToken, UserId};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::schema::{api_keys, users, workspace_proxies};
use crate::Error;
use crate::fleet::{KeyScope, LoginType};

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
        let mut connection = self.writes.get().await?;
        let mut query = api_keys::table
            .inner_join(users::table)
            .select(SessionRow::as_select())
            .order((api_keys::created_at.desc(), api_keys::id))
            .limit(MOST_SESSIONS)
            .into_boxed();
        if let Some(UserId(id)) = user {
            query = query.filter(api_keys::user_id.eq(id));
        }
        Ok(query.load(&mut *connection).await?)
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
    /// [`Error::Query`], [`Error::Unavailable`].
    pub async fn set_proxy_token(&self, token: &ProxyToken) -> Result<bool, Error> {
        let mut connection = self.writes.get().await?;
        let proxy = workspace_proxies::table.find(token.id());
        let changed = diesel::update(proxy)
            .set(workspace_proxies::token_hashed_secret.eq(token.secret_digest().to_vec()))
            .execute(&mut *connection)
            .await?;
        Ok(changed > 0)
    }
}

/// A session as an operator sees it: without its secret
#[derive(Clone, Debug, PartialEq, Queryable, Selectable)]
#[diesel(table_name = api_keys)]
pub struct SessionRow {
    /// The public part of its token
    pub id: String,
    /// Whom it stands for
    #[diesel(select_expression = users::username)]
    pub username: String,
    /// Whom it stands for
    pub user_id: Uuid,
    /// How the user signed in for it
    pub login_type: LoginType,
    /// What it may do
    pub scope: KeyScope,
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

const MOST_SESSIONS: i64 = 10_000;
