use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{AGE, CACHE_CONTROL};

/// The time for which an answer with these headers may still be cached
///
/// `max-age` minus `Age` (RFC 9111, 4.2); zero if the answer must not be cached, and `None` if
/// the headers do not say. The shortest of several values counts, and a value that is not a
/// number counts as zero (4.2.1).
pub(crate) fn lifetime(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let shortest = values.flat_map(|value| value.split(',')).filter_map(directive).min()?;
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok());
    Some(Duration::from_secs(shortest.saturating_sub(age.unwrap_or_default())))
}

/// The seconds that a directive of `Cache-Control` allows; `None` if it does not limit them
fn directive(text: &str) -> Option<u64> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    match name.trim().to_ascii_lowercase().as_str() {
        "no-cache" | "no-store" => Some(0),
        "max-age" => Some(value.trim().trim_matches('"').parse().unwrap_or_default()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(headers: &[(&'static str, &'static str)]) -> Option<u64> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        lifetime(&map).map(|lifetime| lifetime.as_secs())
    }

    #[test]
    fn the_lifetime_is_max_age_minus_age() {
        const GOOGLE: (&str, &str) =
            ("cache-control", "public, max-age=22387, must-revalidate, no-transform");
        assert_eq!(seconds(&[GOOGLE, ("age", "387")]), Some(22_000));
        assert_eq!(seconds(&[GOOGLE]), Some(22_387));
        assert_eq!(seconds(&[GOOGLE, ("age", "-1")]), Some(22_387));
        assert_eq!(seconds(&[GOOGLE, ("age", "99999")]), Some(0));
    }

    #[test]
    fn malformed_headers_shorten_the_lifetime() {
        for (value, expected) in [
            ("MAX-AGE=\"60\"", Some(60)),
            ("max-age = 60", Some(60)),
            ("max-age=60, max-age=50", Some(50)),
            ("max-age=60, no-cache", Some(0)),
            ("no-store", Some(0)),
            ("max-age", Some(0)),
            ("max-age=", Some(0)),
            ("max-age=-5", Some(0)),
            ("max-age=99999999999999999999999", Some(0)),
            ("s-maxage=60", None),
            ("public", None),
            ("", None),
        ] {
            assert_eq!(seconds(&[("cache-control", value)]), expected, "{value}");
        }
        assert_eq!(seconds(&[]), None);
        let twice = [("cache-control", "max-age=60"), ("cache-control", "max-age=9")];
        assert_eq!(seconds(&twice), Some(9));
    }
}
