use app_authz::credential::{ApiKey, KeyHolder, LoginType, UserStatus};
use app_authz::rbac::{AllowList, ScopeName};
use app_authz::{GroupId, UserId};
use diesel::deserialize;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{
    Array, BigInt, Bool, Bytea, Jsonb, Nullable, Record, Text, Timestamptz, Uuid as SqlUuid,
};
use uuid::Uuid;

use super::values::{Granted, Label, Moment};
use crate::domain::{self, Held, StoredRole};

/// The columns of a [`HolderRow`], of `holder` as [`HOLDER_OF_KEY`] finds it
///
/// The deployment's own roles are looked up only for who has roles that are stored.
pub(super) const HOLDER: &str = "\
holder.id, holder.hashed_secret, holder.user_id, holder.login_type, holder.last_used,
       holder.expires_at, holder.lifetime_seconds, holder.scope, holder.status,
       holder.oauth_expiry, holder.can_refresh, holder.rbac_roles,
       CASE WHEN holder.rbac_roles = '{}' THEN NULL ELSE ARRAY(
           SELECT ROW(name, site_permissions, org_permissions, user_permissions)
           FROM custom_roles
           WHERE name = ANY (holder.rbac_roles) AND organization_id IS NULL
       ) END,
       ARRAY(
           SELECT ROW(m.organization_id, m.roles, CASE WHEN m.roles = '{}' THEN NULL ELSE ARRAY(
               SELECT ROW(name, site_permissions, org_permissions, user_permissions)
               FROM custom_roles
               WHERE name = ANY (m.roles) AND organization_id = m.organization_id
           ) END)
           FROM organization_members m
           WHERE m.user_id = holder.user_id
       ),
       ARRAY(SELECT group_id FROM group_members WHERE user_id = holder.user_id)";

/// What is joined to `asked`, whose `key_id` is the id of a token
///
/// A key is good for nothing once its user is deleted, should it outlive them. Only who
/// signs in through a provider has a link, and only those are looked up.
///
/// An encrypted token is base64 of a nonce of 12 bytes, a tag of 16, and as many bytes as the
/// token has. So its length says whether the token is empty, with the key at hand or not: 28
/// bytes are 38 digits before the padding. Neither token nor ciphertext leaves the database.
///
/// The offset keeps a subquery whole: flattened into the joins around it, it would be
/// one more table to weigh against all others and take longer to start.
pub(super) const HOLDER_OF_KEY: &str = "\
LATERAL (
    SELECT k.id, k.hashed_secret, k.user_id, k.login_type::text, k.last_used, k.expires_at,
           k.lifetime_seconds, k.scope::text, u.status::text, u.rbac_roles, l.oauth_expiry,
           l.can_refresh
    FROM api_keys k
    JOIN users u ON u.id = k.user_id AND NOT u.deleted
    LEFT JOIN LATERAL (
        SELECT oauth_expiry, CASE coalesce(oauth_refresh_token_key_id, '')
                   WHEN '' THEN oauth_refresh_token <> ''
                   ELSE length(rtrim(oauth_refresh_token, '=')) > 38
               END AS can_refresh
        FROM user_links
        WHERE user_id = k.user_id AND login_type = k.login_type
          AND k.login_type IN ('github', 'oidc')
        OFFSET 0
    ) l ON true
    WHERE k.id = asked.key_id
    OFFSET 0
) holder ON true";

pub(super) type HolderColumns = (
    Text,
    Bytea,
    SqlUuid,
    Text,
    Timestamptz,
    Timestamptz,
    BigInt,
    Text,
    Text,
    Nullable<Timestamptz>,
    Nullable<Bool>,
    Array<Nullable<Text>>,
    Nullable<Array<CustomRole>>,
    Array<Record<(SqlUuid, Array<Nullable<Text>>, Nullable<Array<CustomRole>>)>>,
    Array<SqlUuid>,
);

type CustomRole = Record<(Text, Jsonb, Jsonb, Jsonb)>;

/// A key and its holder
#[derive(Debug)]
pub(super) struct HolderRow(pub(super) KeyHolder);

impl Queryable<HolderColumns, Pg> for HolderRow {
    type Row = (
        String,
        Vec<u8>,
        Uuid,
        Label<LoginType>,
        Moment,
        Moment,
        i64,
        Label<ScopeName>,
        Label<UserStatus>,
        Option<Moment>,
        Option<bool>,
        Names,
        Option<Vec<CustomRoleRow>>,
        Vec<(Uuid, Names, Option<Vec<CustomRoleRow>>)>,
        Vec<Uuid>,
    );

    fn build(row: Self::Row) -> deserialize::Result<Self> {
        let (
            id,
            secret_digest,
            user,
            Label(login_type),
            Moment(last_used),
            Moment(expires_at),
            lifetime,
            Label(scope),
            Label(status),
            link_expiry,
            can_refresh,
            names,
            custom,
            memberships,
            groups,
        ) = row;
        let link = link_expiry.zip(can_refresh);
        let of_deployment = held(None, names, custom);
        let of_organizations = memberships.into_iter();
        let of_organizations = of_organizations
            .map(|(organization, names, custom)| held(Some(organization), names, custom));
        let (roles, custom_roles) =
            domain::roles(std::iter::once(of_deployment).chain(of_organizations));
        Ok(Self(KeyHolder {
            key: ApiKey {
                id,
                secret_digest,
                user: UserId(user),
                login_type,
                last_used,
                expires_at,
                lifetime: domain::seconds(lifetime),
                scopes: vec![scope],
                allow_list: AllowList::everything(),
                audience: None,
            },
            status,
            link: link.map(|(Moment(expiry), can_refresh)| domain::link(expiry, can_refresh)),
            roles,
            custom_roles,
            groups: groups.into_iter().map(GroupId).collect(),
        }))
    }
}

type Names = Vec<Option<String>>;

type CustomRoleRow = (String, Granted, Granted, Granted);

fn held(organization: Option<Uuid>, names: Names, custom: Option<Vec<CustomRoleRow>>) -> Held {
    let role =
        |(name, Granted(site), Granted(org), Granted(user))| StoredRole { name, site, org, user };
    Held {
        organization,
        names: names.into_iter().flatten().collect(),
        custom: custom.into_iter().flatten().map(role).collect(),
    }
}
