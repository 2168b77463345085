use std::time::{Duration, SystemTime};

/// Until when a certificate is valid, from its DER (RFC 5280, section 4.1); `None` if it does not parse
pub(super) fn expiry(certificate: &[u8]) -> Option<SystemTime> {
    let (signed, _) = element(certificate, SEQUENCE)?;
    let (mut fields, _) = element(signed, SEQUENCE)?;
    // The version is left out of certificates of version 1.
    if let Some((_, rest)) = element(fields, VERSION) {
        fields = rest;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, fields) = element(fields, tag)?;
    }
    let (validity, _) = element(fields, SEQUENCE)?;
    let begin = Element::first(validity)?;
    let Element { tag, content: end, .. } = Element::first(begin.rest)?;
    match tag {
        UTC_TIME => {
            let (year, rest) = digits(end, 2)?;
            time(if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits(end, 4)?;
            time(year, rest)
        }
        _ => None,
    }
}

/// The time of a year and the text `MMDDHHMMSSZ`
fn time(year: i64, text: &[u8]) -> Option<SystemTime> {
    let mut rest = text;
    let mut parts = [0; 5];
    for (part, most) in parts.iter_mut().zip([12, 31, 23, 59, 60]) {
        (*part, rest) = digits(rest, 2)?;
        if *part > most {
            return None;
        }
    }
    let [month, day, hour, minute, second] = parts;
    if rest != b"Z" || month == 0 || day == 0 {
        return None;
    }
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    let distance = Duration::from_secs(seconds.unsigned_abs());
    match seconds >= 0 {
        true => SystemTime::UNIX_EPOCH.checked_add(distance),
        false => SystemTime::UNIX_EPOCH.checked_sub(distance),
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar
///
/// Years begin in March here, so that a leap day is the last of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // Of March to February, five months have 153 days together.
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - DAYS_TO_1970
}

/// A number of so many digits, and what follows it
fn digits(text: &[u8], count: usize) -> Option<(i64, &[u8])> {
    let (number, rest) = text.split_at_checked(count)?;
    number.iter().all(u8::is_ascii_digit).then_some(())?;
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, rest))
}

/// The content of the first element if it has this tag, and what follows it
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let first = Element::first(der)?;
    (first.tag == tag).then_some((first.content, first.rest))
}

/// An element of DER, and what follows it
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Element<'a> {
    fn first(der: &'a [u8]) -> Option<Self> {
        let (&[tag, length], rest) = der.split_first_chunk()?;
        let (length, rest) = match length {
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            length if length < 0x80 => (usize::from(length), rest),
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        Some(Self { tag, content, rest })
    }
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`
const VERSION: u8 = 0xa0;

/// From March 1 of the year 0
const DAYS_TO_1970: i64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(year: i64, text: &str) -> Option<i64> {
        let at = time(year, text.as_bytes())?;
        Some(match at.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs()).unwrap(),
            Err(before) => -i64::try_from(before.duration().as_secs()).unwrap(),
        })
    }

    #[test]
    fn times() {
        for (year, text, expected) in [
            (1970, "0101000000Z", Some(0)),
            (1969, "1231235959Z", Some(-1)),
            (2000, "0229120000Z", Some(951_825_600)),
            (2026, "1127063000Z", Some(1_795_761_000)),
            (2100, "0301000000Z", Some(4_107_542_400)),
            (9999, "1231235959Z", Some(253_402_300_799)),
            (2026, "1327063000Z", None),
            (2026, "1127063000", None),
            (2026, "112706300Z", None),
            (2026, "0027063000Z", None),
            (2026, "1127063000+0100", None),
        ] {
            assert_eq!(seconds(year, text), expected, "{year} {text}");
        }
    }

    #[test]
    fn what_is_not_a_certificate_has_no_expiry() {
        for der in [&b""[..], b"\x30", b"\x30\x80", b"\x30\x05abc", b"\x30\x84\xff\xff\xff\xff"] {
            assert_eq!(expiry(der), None, "{der:?}");
        }
    }
}
