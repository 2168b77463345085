//! Users and sessions of an OpenID provider

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use app_authz::UserId;
use diesel::sql_types::{Array, BigInt, Bool, Bytea, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncConnection, RunQueryDsl};
use uuid::Uuid;

use super::PgStore;
use super::sql::Sql;
use super::tables::Need;
use super::values::Moment;
use crate::Error;
use crate::provider::{ProviderSessions, ProviderSignIn, ProviderSignOut, SignInRefusal, SignedIn};

impl ProviderSessions for PgStore {
    async fn provider_sign_in(
        &self,
        sign_in: &ProviderSignIn<'_>,
    ) -> Result<Result<SignedIn, SignInRefusal>, Error> {
        let (link, digest) = (sign_in.linked_id(), sign_in.token.secret_digest());
        let ip = sign_in.ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).to_canonical().to_string();
        let statement = SignIn::of(sign_in, (&link, &digest, &ip));
        let turn = TakeTurn { sql: &TAKE_TURN, link: &link, email: sign_in.email };
        let found = self.writes.run(async |connection| {
            connection
                .transaction(async |connection| {
                    turn.execute(connection).await?;
                    statement.get_result::<(String, Option<Uuid>, bool)>(connection).await
                })
                .await
        });
        let (outcome, user, is_new) = found.await?;
        Ok(match (&*outcome, user.map(UserId)) {
            ("in", Some(user)) => Ok(SignedIn { user, is_new }),
            ("suspended", Some(user)) => Err(SignInRefusal::Suspended(user)),
            ("taken", _) => Err(SignInRefusal::OtherUser),
            _ => Err(SignInRefusal::Unknown),
        })
    }

    async fn provider_sign_out(
        &self,
        sign_out: &ProviderSignOut<'_>,
    ) -> Result<Vec<(String, UserId)>, Error> {
        let statement = SignOut::of(sign_out);
        let ended = self.writes.run(async |connection| statement.load(connection).await);
        let ended: Vec<(String, Uuid)> = ended.await?;
        Ok(ended.into_iter().map(|(id, user)| (id, UserId(user))).collect())
    }
}

statement! {
    /// Finds or creates a user, and adds a session: `provider_sign_in.sql`
    struct SignIn<'a> {
        link: &'a str as Text,
        links_by_email: bool as Bool,
        email: &'a str as Text,
        organization: &'a str as Text,
        new_user: Uuid as SqlUuid,
        username: &'a str as Text,
        roles: Option<&'a [String]> as Nullable<Array<Text>>,
        at: Moment as Timestamptz,
        allows_new: bool as Bool,
        groups: Option<&'a [String]> as Nullable<Array<Text>>,
        key: &'a str as Text,
        digest: &'a [u8] as Bytea,
        expires_at: Moment as Timestamptz,
        lifetime: i64 as BigInt,
        ip: &'a str as Text,
        issuer: &'a str as Text,
        subject: &'a str as Text,
        session: Option<&'a str> as Nullable<Text>,
    } -> (Text, Nullable<SqlUuid>, Bool)
}

impl<'a> SignIn<'a> {
    fn of(
        sign_in: &'a ProviderSignIn<'_>,
        (link, digest, ip): (&'a str, &'a [u8], &'a str),
    ) -> Self {
        Self {
            sql: &SIGN_IN,
            issuer: sign_in.issuer,
            subject: sign_in.subject,
            session: sign_in.session,
            link,
            username: sign_in.username,
            email: sign_in.email,
            links_by_email: sign_in.links_by_email,
            allows_new: sign_in.allows_new,
            new_user: sign_in.new_user,
            organization: sign_in.organization,
            groups: sign_in.groups.as_deref(),
            roles: sign_in.roles.as_deref(),
            at: Moment(sign_in.at),
            key: sign_in.token.id(),
            digest,
            expires_at: Moment(sign_in.expires_at()),
            lifetime: i64::try_from(sign_in.lifetime.as_secs()).unwrap_or(i64::MAX),
            ip,
        }
    }
}

statement! {
    /// Ends sessions: `provider_sign_out.sql`
    struct SignOut<'a> {
        issuer: &'a str as Text,
        until: Moment as Timestamptz,
        subject: Option<&'a str> as Nullable<Text>,
        session: Option<&'a str> as Nullable<Text>,
    } -> (Text, SqlUuid)
}

impl<'a> SignOut<'a> {
    fn of(sign_out: &'a ProviderSignOut<'_>) -> Self {
        Self {
            sql: &SIGN_OUT,
            issuer: sign_out.issuer,
            subject: sign_out.subject,
            session: sign_out.session,
            until: Moment(sign_out.until),
        }
    }
}

statement! {
    /// Makes sign-ins of one identity, or with one address, take turns, so that one user is created
    /// and linked once
    struct TakeTurn<'a> {
        link: &'a str as Text,
        email: &'a str as Text,
    }
}

static SIGN_IN: LazyLock<Sql> =
    LazyLock::new(|| Sql::plain(include_str!("sql/provider_sign_in.sql")));

static SIGN_OUT: LazyLock<Sql> =
    LazyLock::new(|| Sql::plain(include_str!("sql/provider_sign_out.sql")));

static TAKE_TURN: LazyLock<Sql> = LazyLock::new(|| {
    Sql::plain(
        "SELECT pg_advisory_xact_lock(hashtextextended('authd_oidc link ' || $1::text, 0)),
                pg_advisory_xact_lock(hashtextextended('authd_oidc email ' || lower($2::text), 0))",
    )
});

/// The rights that sign-ins and sign-outs at a provider need
pub(super) const SESSIONS: &[Need] = &[
    Need::select(
        "users",
        "id username email status deleted rbac_roles login_type is_system last_seen_at created_at",
    ),
    Need::insert(
        "users",
        "id username email status rbac_roles login_type last_seen_at created_at updated_at",
    ),
    Need::update("users", "status rbac_roles last_seen_at updated_at"),
    Need::select("user_links", "user_id login_type linked_id"),
    Need::insert("user_links", "user_id login_type linked_id"),
    Need::update(
        "user_links",
        "linked_id oauth_access_token oauth_refresh_token oauth_expiry oauth_access_token_key_id \
         oauth_refresh_token_key_id",
    ),
    Need::select("organizations", "id name deleted"),
    Need::select("organization_members", "organization_id user_id"),
    Need::insert("organization_members", "organization_id user_id"),
    Need::select("groups", "id name organization_id"),
    Need::select("group_members", "user_id group_id"),
    Need::insert("group_members", "user_id group_id"),
    Need::delete("group_members"),
    Need::select("api_keys", "id user_id expires_at"),
    Need::insert(
        "api_keys",
        "id hashed_secret user_id last_used expires_at created_at updated_at login_type \
         lifetime_seconds ip_address",
    ),
    Need::update("api_keys", "expires_at"),
    Need::delete("api_keys"),
    Need::select("authd_app_sessions", "key_id parent_id"),
    Need::delete("authd_app_sessions"),
    Need::select("authd_oidc_sessions", "key_id user_id issuer subject session_id created_at"),
    Need::insert("authd_oidc_sessions", "key_id user_id issuer subject session_id created_at"),
    Need::delete("authd_oidc_sessions"),
];

/// How the database executes the statements
#[cfg(test)]
pub(super) mod explained {
    use diesel::result::QueryResult;
    use diesel_async::{AsyncPgConnection, RunQueryDsl};
    use serde_json::Value;

    use super::{ProviderSignIn, ProviderSignOut, SignIn, SignOut};
    use crate::pg::plans::Explain;

    pub(in crate::pg) async fn sign_in(
        connection: &mut AsyncPgConnection,
        sign_in: &ProviderSignIn<'_>,
    ) -> QueryResult<Value> {
        let (link, digest) = (sign_in.linked_id(), sign_in.token.secret_digest());
        Explain(SignIn::of(sign_in, (&link, &digest, "192.0.2.1"))).get_result(connection).await
    }

    pub(in crate::pg) async fn sign_out(
        connection: &mut AsyncPgConnection,
        sign_out: &ProviderSignOut<'_>,
    ) -> QueryResult<Value> {
        Explain(SignOut::of(sign_out)).get_result(connection).await
    }
}
