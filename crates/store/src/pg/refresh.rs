//! Refreshing the tokens of users' links to identity providers

use std::sync::LazyLock;
use std::time::SystemTime;

use diesel::OptionalExtension;
use diesel::sql_types::{Array, Bool, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::sql::Sql;
use super::tables::Need;
use super::values::Moment;
use crate::Error;
use crate::refresh::{BegunRefresh, LinkId, LinkTokens, RefreshEnd, RefreshTurn};

impl LinkTokens for PgStore {
    async fn begin_refresh(
        &self,
        link: LinkId,
        attempt: Uuid,
        now: SystemTime,
        until: SystemTime,
    ) -> Result<RefreshTurn, Error> {
        let begin = Begin {
            sql: &BEGIN,
            user: link.user.0,
            login_type: link.login_type.as_str(),
            now: Moment(now),
            attempt,
            until: Moment(until),
        };
        let found = self
            .writes
            .run(async |connection: &mut _| begin.get_result::<Found>(connection).await.optional());
        let Some((Moment(expiry), stored, key_id, is_begun, is_settled, active)) = found.await?
        else {
            return Ok(RefreshTurn::Over);
        };
        match (is_begun, is_settled) {
            (true, _) => {}
            (false, true) => return Ok(RefreshTurn::Over),
            (false, false) => return Ok(RefreshTurn::Other),
        }
        let mut begun =
            BegunRefresh { link, refresh_token: String::new(), attempt, expiry, stored, key: None };
        match self.tokens(&begun.stored, key_id.as_deref(), &active) {
            Ok((refresh_token, key)) => {
                (begun.refresh_token, begun.key) = (refresh_token, key);
                Ok(RefreshTurn::Begun(begun))
            }
            Err(error) => {
                self.end_refresh(&begun, RefreshEnd::Failed).await?;
                Err(error)
            }
        }
    }

    async fn end_refresh(&self, begun: &BegunRefresh, end: RefreshEnd<'_>) -> Result<bool, Error> {
        let sealed = |token: &str| match &begun.key {
            Some(digest) => self.encryption_keys.encrypt(token, digest),
            None => Ok(token.to_owned()),
        };
        let (mut access_token, mut refresh_token, mut ends) = (None, None, None);
        if let RefreshEnd::Refreshed { access_token: access, refresh_token: next, expires_at } = end
        {
            access_token = Some(sealed(access)?);
            refresh_token = Some(sealed(next.unwrap_or(&begun.refresh_token))?);
            ends = expires_at.map(Moment);
        }
        let statement = End {
            sql: &END,
            is_settled: end != RefreshEnd::Failed,
            user: begun.link.user.0,
            login_type: begun.link.login_type.as_str(),
            attempt: begun.attempt,
            access_token: access_token.as_deref(),
            refresh_token: refresh_token.as_deref(),
            ends,
            key: begun.key.as_deref(),
            expiry: Moment(begun.expiry),
            stored: &begun.stored,
        };
        let changed =
            self.writes.run(async |connection: &mut _| statement.execute(connection).await);
        Ok(changed.await? > 0)
    }
}

impl PgStore {
    /// The refresh token of a link, and the digest of the key that encrypts new tokens, if the
    /// control plane encrypts
    fn tokens(
        &self,
        stored: &str,
        key_id: Option<&str>,
        active: &[String],
    ) -> Result<(String, Option<String>), Error> {
        let keys = &self.encryption_keys;
        let refresh_token = match key_id {
            Some(digest) => keys.decrypt(stored, digest)?,
            None => stored.to_owned(),
        };
        let preferred = match active.first() {
            Some(newest) => Some(
                keys.first_of(active)
                    .ok_or_else(|| Error::MissingEncryptionKey { digest: newest.clone() })?,
            ),
            None => None,
        };
        Ok((refresh_token, preferred.map(str::to_owned)))
    }
}

type Found = (Moment, String, Option<String>, bool, bool, Vec<String>);

statement! {
    /// Begins an attempt: `begin_token_refresh.sql`
    struct Begin<'a> {
        user: Uuid as SqlUuid,
        login_type: &'static str as Text,
        now: Moment as Timestamptz,
        attempt: Uuid as SqlUuid,
        until: Moment as Timestamptz,
    } -> (Timestamptz, Text, Nullable<Text>, Bool, Bool, Array<Text>)
}

statement! {
    /// Ends an attempt: `end_token_refresh.sql`
    struct End<'a> {
        is_settled: bool as Bool,
        user: Uuid as SqlUuid,
        login_type: &'static str as Text,
        attempt: Uuid as SqlUuid,
        access_token: Option<&'a str> as Nullable<Text>,
        refresh_token: Option<&'a str> as Nullable<Text>,
        ends: Option<Moment> as Nullable<Timestamptz>,
        key: Option<&'a str> as Nullable<Text>,
        expiry: Moment as Timestamptz,
        stored: &'a str as Text,
    }
}

static BEGIN: LazyLock<Sql> =
    LazyLock::new(|| Sql::plain(include_str!("sql/begin_token_refresh.sql")));

static END: LazyLock<Sql> = LazyLock::new(|| Sql::plain(include_str!("sql/end_token_refresh.sql")));

/// The rights that the refresh of tokens needs
pub(super) const TOKENS: &[Need] = &[
    Need::select(
        "user_links",
        "user_id login_type oauth_expiry oauth_refresh_token oauth_refresh_token_key_id",
    ),
    Need::update(
        "user_links",
        "oauth_access_token oauth_refresh_token oauth_expiry oauth_access_token_key_id \
         oauth_refresh_token_key_id",
    ),
    Need::select("dbcrypt_keys", "number active_key_digest"),
    Need::select("authd_token_refreshes", "user_id login_type expiry holder until is_settled"),
    Need::insert("authd_token_refreshes", "user_id login_type expiry holder until"),
    Need::update("authd_token_refreshes", "expiry holder until is_settled"),
];

/// How the database executes the statements of an attempt that begins and gets new tokens
#[cfg(test)]
pub(super) async fn explained(
    connection: &mut diesel_async::AsyncPgConnection,
    link: LinkId,
    expiry: SystemTime,
    stored: &str,
) -> diesel::result::QueryResult<[serde_json::Value; 2]> {
    let (user, login_type) = (link.user.0, link.login_type.as_str());
    let now = Moment(expiry + std::time::Duration::from_secs(1));
    let attempt = Uuid::new_v4();
    let begin = Begin { sql: &BEGIN, user, login_type, now, attempt, until: now };
    let end = End {
        sql: &END,
        is_settled: true,
        user,
        login_type,
        attempt,
        access_token: Some("new"),
        refresh_token: Some(stored),
        ends: Some(Moment(expiry)),
        key: None,
        expiry: Moment(expiry),
        stored,
    };
    let begin = super::plans::Explain(begin).get_result(connection).await?;
    Ok([begin, super::plans::Explain(end).get_result(connection).await?])
}
