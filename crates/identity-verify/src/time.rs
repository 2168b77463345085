//! Dates as the clouds write them, without a calendar library: the few forms are
//! fixed, and a verifier should not depend on a parser that accepts more

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Parses RFC 3339, as AWS writes `pendingTime`: `2022-03-25T20:07:16Z`
///
/// A fraction of up to nine digits and a numeric offset are accepted, a leap
/// second is not, nor is a year before 1970.
pub(crate) fn rfc3339(text: &str) -> Option<SystemTime> {
    let (date, rest) = text.as_bytes().split_at_checked(19)?;
    let &[y1, y2, y3, y4, b'-', o1, o2, b'-', d1, d2, b'T', h1, h2, b':', m1, m2, b':', s1, s2] =
        date
    else {
        return None;
    };
    let date = [two(y1, y2)? * 100 + two(y3, y4)?, two(o1, o2)?, two(d1, d2)?];
    let time = civil(date, [two(h1, h2)?, two(m1, m2)?, two(s1, s2)?])?;

    let (nanos, rest) = fraction(rest)?;
    let offset = match *rest {
        [b'Z'] => 0,
        [sign, h1, h2, b':', m1, m2] => offset(sign, [h1, h2, m1, m2])?,
        _ => return None,
    };
    since_1970(time.checked_sub(offset)?, nanos)
}

/// Seconds by which local time is ahead of UTC: `+` or `-`, and four digits of hours and minutes
fn offset(sign: u8, [h1, h2, m1, m2]: [u8; 4]) -> Option<i64> {
    let (hours, minutes) = (two(h1, h2)?, two(m1, m2)?);
    let seconds = hours * 3600 + minutes * 60;
    match sign {
        _ if hours > 23 || minutes > 59 => None,
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

/// The time so many seconds and nanoseconds after 1970; `None` before 1970
fn since_1970(seconds: i64, nanos: u32) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::new(u64::try_from(seconds).ok()?, nanos))
}

/// Writes a time as RFC 3339 in UTC, to the millisecond if it is not a whole second
pub(crate) struct Rfc3339(pub(crate) SystemTime);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(since) = self.0.duration_since(UNIX_EPOCH) else {
            return f.write_str("a time before 1970");
        };
        let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        if days >= DAYS_TO_10000 {
            return f.write_str("a time after the year 9999");
        }
        let [year, month, day] = date(days);
        let (hour, minute) = (second / 3600, second / 60 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}", second % 60)?;
        match since.subsec_millis() {
            0 => f.write_str("Z"),
            millis => write!(f, ".{millis:03}Z"),
        }
    }
}

/// Parses a date as Azure writes `createdOn`: `04/19/22 01:27:21 -0000`
///
/// Month first, and two digits of a year from 2000 to 2099. Azure is known to write UTC as
/// `-0000`, and does not document the form: any offset is read, as `+0000`, `+00:00` or `Z`, and
/// a fraction of up to nine digits.
pub(crate) fn azure(text: &str) -> Option<SystemTime> {
    let (moment, rest) = text.as_bytes().split_at_checked(17)?;
    let &[o1, o2, b'/', d1, d2, b'/', y1, y2, b' ', h1, h2, b':', m1, m2, b':', s1, s2] = moment
    else {
        return None;
    };
    let date = [two(y1, y2)? + 2000, two(o1, o2)?, two(d1, d2)?];
    let time = civil(date, [two(h1, h2)?, two(m1, m2)?, two(s1, s2)?])?;
    let (nanos, rest) = fraction(rest)?;
    let offset = match *rest.strip_prefix(b" ").unwrap_or(rest) {
        [b'Z'] => 0,
        [sign, h1, h2, m1, m2] | [sign, h1, h2, b':', m1, m2] => offset(sign, [h1, h2, m1, m2])?,
        _ => return None,
    };
    since_1970(time.checked_sub(offset)?, nanos)
}

/// Parses a UTCTime of a certificate, `YYMMDDHHMMSSZ` (RFC 5280, 4.1.2.5.1)
///
/// Two digits of a year from 1950 to 2049, of which those before 1970 are refused.
pub(crate) fn utc_time(text: &[u8]) -> Option<SystemTime> {
    let (&[y1, y2], rest) = text.split_first_chunk()?;
    let year = two(y1, y2)?;
    compact(if year < 50 { 2000 + year } else { 1900 + year }, rest)
}

/// Parses a GeneralizedTime of a certificate, `YYYYMMDDHHMMSSZ` (RFC 5280, 4.1.2.5.2)
pub(crate) fn generalized_time(text: &[u8]) -> Option<SystemTime> {
    let (&[y1, y2, y3, y4], rest) = text.split_first_chunk()?;
    compact(two(y1, y2)? * 100 + two(y3, y4)?, rest)
}

/// Parses `MMDDHHMMSSZ`
fn compact(year: i64, text: &[u8]) -> Option<SystemTime> {
    let &[o1, o2, d1, d2, h1, h2, m1, m2, s1, s2, b'Z'] = text else { return None };
    let date = [year, two(o1, o2)?, two(d1, d2)?];
    moment(date, [two(h1, h2)?, two(m1, m2)?, two(s1, s2)?])
}

/// A second of the Gregorian calendar in UTC
fn moment(date: [i64; 3], time: [i64; 3]) -> Option<SystemTime> {
    since_1970(civil(date, time)?, 0)
}

/// Seconds since 1970 of a date of the Gregorian calendar in UTC
///
/// `[year, month, day]` and `[hour, minute, second]`, without leap seconds.
fn civil([year, month, day]: [i64; 3], [hour, minute, second]: [i64; 3]) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    let in_range = (1970..=9999).contains(&year)
        && (1..=days_in_month).contains(&day)
        && (0..=23).contains(&hour)
        && (0..=59).contains(&minute)
        && (0..=59).contains(&second);
    if !in_range {
        return None;
    }
    // The year is counted from March, so that the leap day is its last: then the
    // days before month `m` are a linear function, rounded down.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - DAYS_TO_1970;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// `[year, month, day]` of the Gregorian calendar, so many days after the first of 1970
const fn date(days: u64) -> [u64; 3] {
    // Counted from the first of March of the year 0, as in `civil`: 400 years always have
    // the same number of days, and the leap day is the last day of its year.
    let days = days + DAYS_TO_1970.unsigned_abs();
    let (era, days) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
    let year = (days - days / 1_460 + days / 36_524 - days / 146_096) / 365;
    let days = days - (year * 365 + year / 4 - year / 100);
    let month = (days * 5 + 2) / 153;
    let day = days - (month * 153 + 2) / 5 + 1;
    let year = era * 400 + year;
    if month < 10 { [year, month + 3, day] } else { [year + 1, month - 9, day] }
}

/// The number two ASCII digits write
fn two(tens: u8, ones: u8) -> Option<i64> {
    let digit = |b: u8| b.is_ascii_digit().then(|| i64::from(b - b'0'));
    Some(digit(tens)? * 10 + digit(ones)?)
}

/// The nanoseconds of a leading fraction such as `.25`, and what follows it
fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else {
        return Some((0, text));
    };
    let len = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    if !(1..=9).contains(&len) {
        return None;
    }
    let (digits, rest) = digits.split_at(len);
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    Some((padded.fold(0, |nanos, b| nanos * 10 + u32::from(b - b'0')), rest))
}

/// Days from the first of March of the year 0 to 1970
const DAYS_TO_1970: i64 = 719_468;

/// Days from 1970 to the first of January of the year 10000
const DAYS_TO_10000: u64 = 2_932_897;

const DAYS_IN_400_YEARS: u64 = 146_097;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn unix(text: &str) -> Option<u64> {
        rfc3339(text).map(|t| t.duration_since(UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn dates_are_read_as_their_second() {
        assert_eq!(unix("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(unix("2000-02-29T23:59:59Z"), Some(951_868_799));
        assert_eq!(unix("2022-03-25T20:07:16Z"), Some(1_648_238_836));
        assert_eq!(unix("2022-03-25T20:07:16.5Z"), Some(1_648_238_836));
        assert_eq!(unix("2022-03-25T22:07:16+02:00"), Some(1_648_238_836));
        assert_eq!(unix("2022-03-25T15:37:16-04:30"), Some(1_648_238_836));
        assert_eq!(unix("9999-12-31T23:59:59Z"), Some(253_402_300_799));
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        for text in [
            "1970-01-01T00:00:00Z",
            "1999-12-31T23:59:59Z",
            "2000-02-29T12:34:56Z",
            "2000-03-01T00:00:00Z",
            "2022-03-25T20:07:16.025Z",
            "2100-02-28T23:59:59.999Z",
            "2100-03-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
        ] {
            assert_eq!(Rfc3339(rfc3339(text).unwrap()).to_string(), text);
        }
        // Every day of 400 years, and then one in about a month.
        for day in (0..DAYS_IN_400_YEARS).chain((0..DAYS_TO_10000).step_by(31)) {
            let time = UNIX_EPOCH + Duration::from_secs(day * 86_400);
            assert_eq!(rfc3339(&Rfc3339(time).to_string()), Some(time), "day {day}");
        }
        let beyond = UNIX_EPOCH + Duration::from_secs(DAYS_TO_10000 * 86_400);
        assert_eq!(Rfc3339(beyond).to_string(), "a time after the year 9999");
        let before = UNIX_EPOCH - Duration::from_nanos(1);
        assert_eq!(Rfc3339(before).to_string(), "a time before 1970");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "2022-03-25",
            "2022-03-25T20:07:16",
            "2022-03-25 20:07:16Z",
            "2022-03-25T20:07:16z",
            "2022-03-25T20:07:16ZZ",
            "2022-03-25T20:07:60Z",
            "2022-03-25T24:00:00Z",
            "2022-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2022-13-01T00:00:00Z",
            "2022-00-01T00:00:00Z",
            "2022-03-00T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "2022-03-25T20:07:16.Z",
            "2022-03-25T20:07:16.1234567890Z",
            "2022-03-25T20:07:16+2:00",
            "2022-03-25T20:07:16+24:00",
            "+022-03-25T20:07:16Z",
            "２０２２-03-25T20:07:16Z",
        ] {
            assert_eq!(unix(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_forms_of_azure_and_of_certificates_name_the_same_second() {
        let second = rfc3339("2022-04-19T01:27:21Z");
        assert_eq!(azure("04/19/22 01:27:21 -0000"), second);
        assert_eq!(utc_time(b"220419012721Z"), second);
        assert_eq!(generalized_time(b"20220419012721Z"), second);
        assert_eq!(utc_time(b"991231235959Z"), rfc3339("1999-12-31T23:59:59Z"));
        assert_eq!(utc_time(b"491231235959Z"), rfc3339("2049-12-31T23:59:59Z"));

        for text in [
            "04/19/22 01:27:21 +0000",
            "04/19/22 01:27:21 +00:00",
            "04/19/22 01:27:21 -00:00",
            "04/19/22 01:27:21 Z",
            "04/19/22 01:27:21Z",
            "04/19/22 01:27:21+0000",
            "04/19/22 03:27:21 +0200",
            "04/19/22 06:57:21 +05:30",
            "04/18/22 18:27:21 -0700",
            "04/19/22 01:27:21.000 -0000",
        ] {
            assert_eq!(azure(text), second, "{text:?}");
        }
        assert_eq!(azure("04/19/22 01:27:21.25 -0000"), rfc3339("2022-04-19T01:27:21.25Z"));
        for text in [
            "04/19/22 01:27:21",
            "04/19/22 01:27:21 ",
            "04/19/22 01:27:21 UTC",
            "04/19/22 01:27:21 0000",
            "04/19/22 01:27:21 +00",
            "04/19/22 01:27:21 +2400",
            "04/19/22 01:27:21 +0060",
            "04/19/22 01:27:21  -0000",
            "04/19/22 01:27:21. -0000",
            "04/19/2022 01:27:21 -0000",
            "2022-04-19T01:27:21Z",
            "19/04/22 01:27:21 -0000",
            "4/19/22 01:27:21 -0000",
            "04/19/22 01:27:21 -0000 ",
            "",
        ] {
            assert_eq!(azure(text), None, "{text:?}");
        }
        for text in ["", "Z", "2204190127Z", "220419012721", "220419012721+0000", "220419012721Z "]
        {
            assert_eq!(utc_time(text.as_bytes()), None, "{text:?}");
            assert_eq!(generalized_time(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(utc_time(b"500101000000Z"), None);
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut expected = 0;
        for year in 1970..2105 {
            for month in 1..=12 {
                for day in 1..=31 {
                    if let Some(seconds) = civil([year, month, day], [0; 3]) {
                        assert_eq!(seconds, expected, "{year}-{month}-{day}");
                        expected += 86_400;
                    }
                }
            }
        }
    }
}
