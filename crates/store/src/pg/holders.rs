use app_authz::UserId;
use app_authz::credential::{ApiKey, KeyHolder, LoginType, UserStatus};
use app_authz::id::GroupId;
use app_authz::rbac::OwnWorkspaces;
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
/// Rows of roles are looked up only for who has roles that are stored. Since v2.30 every
/// member of an organization has one: what members may do is a row.
pub(super) const HOLDER: &str = "\
       holder.id, holder.hashed_secret, holder.user_id, holder.login_type, holder.last_used,
       holder.expires_at, holder.lifetime_seconds, holder.scopes, holder.allow_list,
       holder.audience, holder.is_prolonged, holder.owns_outside, holder.is_service_account,
       holder.status, holder.oauth_expiry, holder.can_refresh, holder.rbac_roles,
       CASE WHEN holder.rbac_roles = '{}' THEN NULL ELSE ARRAY(
           SELECT ROW(name, site_permissions, org_permissions, user_permissions
                      , '[]'::jsonb, false  --until v2.30
                      , member_permissions, is_system  --since v2.30
                      )
           FROM custom_roles
           WHERE name = ANY (holder.rbac_roles) AND organization_id IS NULL
       ) END,
       ARRAY(
           SELECT ROW(m.organization_id, m.roles,
               CASE WHEN m.roles = '{}' THEN NULL ELSE  --until v2.30
               ARRAY(
                   SELECT ROW(name, site_permissions, org_permissions, user_permissions
                              , '[]'::jsonb, false  --until v2.30
                              , member_permissions, is_system  --since v2.30
                              )
                   FROM custom_roles
                   WHERE organization_id = m.organization_id
                     AND name = ANY (m.roles)  --until v2.30
                     AND name = ANY (m.roles || m.implied)  --since v2.30
               )
               END  --until v2.30
           )
           FROM (
               SELECT organization_id
                      , roles  --until v2.35
                      , roles || o.default_org_member_roles AS roles  --since v2.35
                      , CASE WHEN holder.is_service_account  --since v2.30
                        THEN 'organization-service-account'  --since v2.30
                        ELSE 'organization-member' END AS implied  --since v2.30
               FROM organization_members
               JOIN organizations o ON o.id = organization_id  --since v2.35
               WHERE user_id = holder.user_id
           ) m
       ),
       ARRAY(SELECT group_id FROM group_members WHERE user_id = holder.user_id)";

/// What is joined to `asked`, whose `key_id` is the id of a token
///
/// A key is good for nothing once its user is deleted, should it outlive them. Only who
/// signs in through a provider has a link, and only those are looked up. A key that an
/// OAuth2 app was given is good only beside the token it was given with; should there be
/// several that name different servers, it is good for none of them.
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
           k.lifetime_seconds, u.status::text, u.rbac_roles, l.oauth_expiry,
           ARRAY[k.scope::text] AS scopes, ARRAY['*:*'] AS allow_list,  --until v2.27
           k.scopes::text[], k.allow_list,  --since v2.27
           NULL AS audience,  --until v2.25
           t.audience,  --since v2.25
           true AS owns_outside,  --until v2.28
           false AS owns_outside,  --since v2.28
           false AS is_service_account,  --until v2.32
           u.is_service_account,  --since v2.32
           true AS is_prolonged,  --until v2.35
           k.login_type <> 'token' AS is_prolonged,  --since v2.35
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
    LEFT JOIN LATERAL (  --since v2.25
        SELECT count(*) AS tokens, min(named.audience) AS audience  --since v2.25
        FROM oauth2_provider_app_tokens,  --since v2.25
        LATERAL (SELECT nullif(audience, '') AS audience) named  --since v2.25
        WHERE api_key_id = k.id AND k.login_type = 'oauth2_provider_app'  --since v2.25
        HAVING coalesce(min(named.audience) = max(named.audience), true)  --since v2.25
    ) t ON true  --since v2.25
    WHERE k.id = asked.key_id
      AND (k.login_type <> 'oauth2_provider_app' OR t.tokens > 0)  --since v2.25
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
    Array<Nullable<Text>>,
    Array<Nullable<Text>>,
    Nullable<Text>,
    Bool,
    Bool,
    Bool,
    Text,
    Nullable<Timestamptz>,
    Nullable<Bool>,
    Array<Nullable<Text>>,
    Nullable<Array<CustomRole>>,
    Array<Record<(SqlUuid, Array<Nullable<Text>>, Nullable<Array<CustomRole>>)>>,
    Array<SqlUuid>,
);

type CustomRole = Record<(Text, Jsonb, Jsonb, Jsonb, Jsonb, Bool)>;

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
        Names,
        Names,
        Option<String>,
        bool,
        bool,
        bool,
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
            scopes,
            allow_list,
            audience,
            is_prolonged,
            owns_outside,
            is_service_account,
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
        let held = std::iter::once(of_deployment).chain(of_organizations);
        let (roles, custom_roles) = domain::roles(held, is_service_account);
        Ok(Self(KeyHolder {
            key: ApiKey {
                id,
                secret_digest,
                user: UserId(user),
                login_type,
                last_used,
                expires_at,
                lifetime: domain::seconds(lifetime),
                scopes: domain::scopes(scopes.iter().map(Option::as_deref)),
                allow_list: domain::allow_list(allow_list.iter().map(Option::as_ref)),
                audience,
                is_prolonged,
            },
            status,
            link: link.map(|(Moment(expiry), can_refresh)| domain::link(expiry, can_refresh)),
            roles,
            custom_roles,
            groups: groups.into_iter().map(GroupId).collect(),
            own_workspaces: if owns_outside {
                OwnWorkspaces::Anywhere
            } else {
                OwnWorkspaces::InOrganizations
            },
        }))
    }
}

type Names = Vec<Option<String>>;

type CustomRoleRow = (String, Granted, Granted, Granted, Granted, bool);

fn held(organization: Option<Uuid>, names: Names, rows: Option<Vec<CustomRoleRow>>) -> Held {
    let role = |(name, Granted(site), Granted(org), Granted(user), Granted(member), is_system)| {
        StoredRole { name, site, org, user, member, is_system }
    };
    Held {
        organization,
        names: names.into_iter().flatten().collect(),
        rows: rows.into_iter().flatten().map(role).collect(),
    }
}
