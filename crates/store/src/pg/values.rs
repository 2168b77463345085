//! Types of the domain as columns

use std::io::Write;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use app_authz::rbac::{AccessList, Permissions};
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::{AsExpression, CastsTo, FallibleCastsTo, KnownCastSqlTypeName};
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{BigInt, Inet, Jsonb, Text, Timestamptz};

use super::permissions;
use super::schema::sql_types;
use crate::domain;

/// A label of an enumeration, as text
///
/// PostgreSQL sends labels as texts. A column of a result is cast to text, as the driver would
/// otherwise look its type up. A field of a record needs no cast, as its type is not looked up.
#[derive(Debug, FromSqlRow)]
pub(super) struct Label<T>(pub(super) T);

impl<T: FromStr<Err = app_authz::Error>> FromSql<Text, Pg> for Label<T> {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(std::str::from_utf8(value.as_bytes())?.parse()?))
    }
}

/// Allows casting an enumeration to text, whose type needs no look-up
macro_rules! cast_to_text {
    ($($sql_type:ident),+) => {$(
        impl FallibleCastsTo<Text> for sql_types::$sql_type {}
        impl CastsTo<Text> for sql_types::$sql_type {}
    )+};
}

cast_to_text!(CryptoKeyFeature, ProvisionerJobType);

/// Fallible: not every text is the label of a feature
impl FallibleCastsTo<sql_types::CryptoKeyFeature> for Text {}

impl KnownCastSqlTypeName<Pg> for sql_types::CryptoKeyFeature {
    const SQL_TYPE_NAME: &'static str = "crypto_key_feature";
}

/// A point in time, in microseconds; infinity is the latest one that can be expressed
#[derive(Clone, Copy, Debug, FromSqlRow, AsExpression)]
#[diesel(sql_type = Timestamptz)]
pub(super) struct Moment(pub(super) SystemTime);

impl FromSql<Timestamptz, Pg> for Moment {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let micros: i64 = FromSql::<BigInt, Pg>::from_sql(value)?;
        let micros = micros.saturating_add(EPOCH);
        let span = Duration::from_micros(micros.unsigned_abs());
        let unix = SystemTime::UNIX_EPOCH;
        let time = if micros < 0 { unix.checked_sub(span) } else { unix.checked_add(span) };
        time.map(Self).ok_or_else(|| "a time that is out of range".into())
    }
}

impl ToSql<Timestamptz, Pg> for Moment {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        let micros = domain::unix_micros(self.0).ok_or("a time that is out of range")?;
        let micros = micros.saturating_sub(EPOCH);
        ToSql::<BigInt, Pg>::to_sql(&micros, &mut out.reborrow())?;
        Ok(IsNull::No)
    }
}

/// An IP address without a network
#[derive(Clone, Copy, Debug, AsExpression)]
#[diesel(sql_type = Inet)]
pub(super) struct Address(pub(super) IpAddr);

/// Family, bits of the netmask, whether it is a network, and the number of bytes, then the bytes:
/// `inet_send` of PostgreSQL's `src/backend/utils/adt/network.c`
impl ToSql<Inet, Pg> for Address {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        match self.0 {
            IpAddr::V4(ip) => {
                out.write_all(&[2, 32, 0, 4])?;
                out.write_all(&ip.octets())?;
            }
            IpAddr::V6(ip) => {
                out.write_all(&[3, 128, 0, 16])?;
                out.write_all(&ip.octets())?;
            }
        }
        Ok(IsNull::No)
    }
}

/// An access list; one that cannot be parsed grants nothing
#[derive(Debug, Default, FromSqlRow)]
pub(super) struct Shared(pub(super) AccessList);

impl FromSql<Jsonb, Pg> for Shared {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let list = match json(&value)? {
            b"{}" => AccessList::EMPTY,
            list => serde_json::from_slice(list).unwrap_or_default(),
        };
        Ok(Self(list))
    }
}

/// The permissions of a custom role
#[derive(Debug)]
pub(super) struct Granted(pub(super) Permissions);

impl FromSql<Jsonb, Pg> for Granted {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let granted = permissions::read(json(&value)?);
        Ok(Self(granted.map_err(|error| format!("permissions of a role: {error}"))?))
    }
}

/// The text of a JSON document
fn json<'a>(value: &'a PgValue<'_>) -> Result<&'a [u8], &'static str> {
    match value.as_bytes() {
        [1, text @ ..] => Ok(text),
        _ => Err("an unknown format of JSON"),
    }
}

/// Microseconds from 1970 to 2000, the epoch of PostgreSQL
const EPOCH: i64 = 946_684_800_000_000;
