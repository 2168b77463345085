use std::str::FromStr;
use std::time::Duration;

/// How long attempts are repeated
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryTimeout {
    /// One attempt at each step
    Once,
    /// The last attempt begins at most this long after the first
    For(Duration),
    /// Until an attempt succeeds or fails permanently
    Unlimited,
}

impl Default for RetryTimeout {
    /// Five minutes
    fn default() -> Self {
        Self::For(Duration::from_secs(5 * 60))
    }
}

/// Seconds, a number with a unit (`90s`, `5m`, `1h30m`), or `forever`
impl FromStr for RetryTimeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a time such as 90s, 5m or forever");
        // `infinity` is the word of systemd's units.
        if ["forever", "infinity", "unlimited"].contains(&text) {
            return Ok(Self::Unlimited);
        }
        let seconds = if text.bytes().all(|b| b.is_ascii_digit()) {
            text.parse().map_err(|_| wrong())?
        } else {
            seconds_with_units(text).ok_or_else(wrong)?
        };
        Ok(match seconds {
            0 => Self::Once,
            seconds => Self::For(Duration::from_secs(seconds)),
        })
    }
}

fn seconds_with_units(text: &str) -> Option<u64> {
    let (mut total, mut rest) = (0_u64, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let units = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(units);
        let factor = match unit {
            "s" | "sec" => 1,
            "m" | "min" => 60,
            "h" => 3600,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = after;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_timeout_is_read_in_the_ways_people_write_times() {
        let seconds = |seconds| RetryTimeout::For(Duration::from_secs(seconds));
        for (text, expected) in [
            ("0", RetryTimeout::Once),
            ("0s", RetryTimeout::Once),
            ("90", seconds(90)),
            ("90s", seconds(90)),
            ("5m", seconds(300)),
            ("5min", seconds(300)),
            ("1h30m", seconds(5400)),
            ("forever", RetryTimeout::Unlimited),
            ("infinity", RetryTimeout::Unlimited),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", "m", "5x", "-1", "1.5", "5m3", "5 m", "99999999999999999999", "Forever"] {
            assert!(text.parse::<RetryTimeout>().is_err(), "{text}");
        }
    }
}
