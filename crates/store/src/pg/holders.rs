use app_authz::credential::{ApiKey, KeyHolder, LoginType, UserStatus};
use app_authz::rbac::{AllowList, ScopeName};
use app_authz::{GroupId, UserId};
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::sql_types::{
    Array, BigInt, Bool, Bytea, Jsonb, Nullable, Record, Text, Timestamptz, Uuid as SqlUuid,
};
use uuid::Uuid;

use super::values::{Granted, Label, Moment};
use crate::domain::{self, Held, StoredRole};

/// The columns of a [`HolderRow`], of the tables in [`FROM_KEYS`]
///
/// The roles are those of the deployment and then those of each organization, with the
/// custom ones among them.
pub(super) const HOLDER: &str = "\
ROW(k.id, k.hashed_secret, k.user_id, k.login_type, k.last_used, k.expires_at,
           k.lifetime_seconds, k.scope, u.status, l.oauth_expiry, l.oauth_refresh_token <> '',
           ARRAY(
               SELECT ROW(held.organization_id, held.names, ARRAY(
                   SELECT ROW(c.name, c.site_permissions, c.org_permissions, c.user_permissions)
                   FROM custom_roles c
                   WHERE c.name = ANY (held.names)
                     AND c.organization_id IS NOT DISTINCT FROM held.organization_id
               ))
               FROM (
                   SELECT NULL::uuid AS organization_id, u.rbac_roles AS names
                   UNION ALL
                   SELECT organization_id, roles FROM organization_members WHERE user_id = u.id
               ) held
           ),
           ARRAY(SELECT group_id FROM group_members WHERE user_id = u.id))";

/// From `carried`, whose `key_id` is the id of a token
///
/// A key is good for nothing once its user is deleted, should it outlive them.
pub(super) const FROM_KEYS: &str = "
JOIN api_keys k ON k.id = carried.key_id
JOIN users u ON u.id = k.user_id AND NOT u.deleted
LEFT JOIN user_links l ON l.user_id = k.user_id AND l.login_type = k.login_type";

pub(super) type HolderColumns = Record<(
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
    Array<Record<(Nullable<SqlUuid>, Array<Nullable<Text>>, Array<CustomRole>)>>,
    Array<SqlUuid>,
)>;

type CustomRole = Record<(Text, Jsonb, Jsonb, Jsonb)>;

/// A key and its holder
#[derive(Debug, FromSqlRow)]
pub(super) struct HolderRow(pub(super) KeyHolder);

impl FromSql<HolderColumns, Pg> for HolderRow {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
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
            held,
            groups,
        ): Columns = FromSql::<HolderColumns, Pg>::from_sql(value)?;
        let link = link_expiry.zip(can_refresh);
        let (roles, custom_roles) = domain::roles(held.into_iter().map(Held::from));
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

type Columns = (
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
    Vec<HeldColumns>,
    Vec<Uuid>,
);

type HeldColumns = (Option<Uuid>, Vec<Option<String>>, Vec<(String, Granted, Granted, Granted)>);

impl From<HeldColumns> for Held {
    fn from((organization, names, custom): HeldColumns) -> Self {
        let role = |(name, Granted(site), Granted(org), Granted(user))| StoredRole {
            name,
            site,
            org,
            user,
        };
        Self {
            organization,
            names: names.into_iter().flatten().collect(),
            custom: custom.into_iter().map(role).collect(),
        }
    }
}
