//! Times as rows spell them: RFC 3339 in UTC, to the microsecond

use std::time::SystemTime;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, Utc};
use serde::Serializer;

pub(crate) fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&text(*time))
}

pub(crate) fn text(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Reads a time as people write it: in RFC 3339, or without an offset in UTC, or as a day
///
/// ```
/// let times = ["2026-11-28T01:00:00+01:00", "2026-11-28T00:00", "2026-11-28 00:00:00", "2026-11-28"];
/// let [midnight, others @ ..] = times.map(|text| app_audit::parse_time(text).unwrap());
/// assert_eq!(others, [midnight; 3]);
/// assert_eq!(app_audit::parse_time("yesterday"), None);
/// ```
#[must_use]
pub fn parse_time(text: &str) -> Option<SystemTime> {
    let stated = || DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
    let local = || {
        let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S"];
        forms.into_iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
    };
    let day = || {
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        Some(day.and_time(NaiveTime::MIN))
    };
    let in_utc = || local().or_else(day).map(|time| time.and_utc());
    stated().or_else(in_utc).map(SystemTime::from)
}
