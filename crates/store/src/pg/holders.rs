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

/// The columns of a key and its holder, as `holders.sql` selects them
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
        String,
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
            username,
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
        let key = ApiKey::new(id, secret_digest, UserId(user), expires_at)
            .with_login_type(login_type)
            .with_last_used(last_used)
            .with_lifetime(domain::seconds(lifetime))
            .with_scopes(domain::scopes(scopes.iter().map(Option::as_deref)))
            .with_allow_list(domain::allow_list(allow_list.iter().map(Option::as_ref)))
            .with_audience(audience)
            .with_prolonged(is_prolonged);
        let own_workspaces =
            if owns_outside { OwnWorkspaces::Anywhere } else { OwnWorkspaces::InOrganizations };
        let holder = KeyHolder::new(key, status, username)
            .with_link(link.map(|(Moment(expiry), can_refresh)| domain::link(expiry, can_refresh)))
            .with_roles(roles)
            .with_custom_roles(custom_roles)
            .with_groups(groups.into_iter().map(GroupId))
            .with_own_workspaces(own_workspaces);
        Ok(Self(holder))
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
