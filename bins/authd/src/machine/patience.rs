use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::trouble::{Cure, Trouble};

/// For how long attempts are repeated
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// One attempt at each step
    Once,
    /// No attempt begins later than this after the first
    For(Duration),
    /// Until it succeeds, or fails in a way that waiting does not cure
    Unlimited,
}

impl Default for Patience {
    fn default() -> Self {
        Self::For(Duration::from_mins(5))
    }
}

/// Seconds, a number with a unit (`90s`, `5m`, `1h30m`), or `forever`
impl FromStr for Patience {
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

/// How long to pause between attempts
///
/// Each pause is a random part, between half and all, of a time that doubles from
/// [`first`](Self::first) to [`longest`](Self::longest): machines that boot together
/// must not come back together.
#[derive(Clone)]
pub struct Pauses {
    /// The time after the first failure
    pub first: Duration,
    /// No pause is longer, except where the service asks for it
    pub longest: Duration,
    /// A random number from 0 up to 1
    pub jitter: Arc<dyn Fn() -> f64 + Send + Sync>,
}

impl Pauses {
    /// From a quarter of a second to ten
    ///
    /// A metadata service that is not up yet is up within seconds, and a control plane
    /// that restarts likewise.
    #[must_use]
    pub fn new(jitter: Arc<dyn Fn() -> f64 + Send + Sync>) -> Self {
        Self { first: Duration::from_millis(250), longest: Duration::from_secs(10), jitter }
    }

    /// The pause after the failure of that number, counted from 0
    ///
    /// A service that asks for a time (`Retry-After`) gets it, and up to a quarter more,
    /// because it asks all machines for the same time.
    pub(super) fn after(&self, failures: u32, trouble: &Trouble) -> Duration {
        let jitter = (self.jitter)().clamp(0.0, 1.0);
        let doubled = self.first.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
        let own = doubled.min(self.longest).mul_f64(0.5 + jitter / 2.0);
        match trouble.cure {
            Cure::Waiting(Some(asked)) => {
                own.max(asked.saturating_add(asked.mul_f64(jitter / 4.0)))
            }
            _ => own,
        }
    }
}

impl fmt::Debug for Pauses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, longest, jitter: _ } = self;
        f.debug_struct("Pauses")
            .field("first", first)
            .field("longest", longest)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_read_in_the_ways_people_write_times() {
        let seconds = |seconds| Patience::For(Duration::from_secs(seconds));
        for (text, patience) in [
            ("0", Patience::Once),
            ("0s", Patience::Once),
            ("90", seconds(90)),
            ("90s", seconds(90)),
            ("5m", seconds(300)),
            ("5min", seconds(300)),
            ("1h30m", seconds(5400)),
            ("forever", Patience::Unlimited),
            ("infinity", Patience::Unlimited),
        ] {
            assert_eq!(text.parse(), Ok(patience), "{text}");
        }
        for text in ["", "m", "5x", "-1", "1.5", "5m3", "5 m", "99999999999999999999", "Forever"] {
            assert!(text.parse::<Patience>().is_err(), "{text}");
        }
    }

    fn pauses(jitter: f64) -> Pauses {
        Pauses {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(1),
            jitter: Arc::new(move || jitter),
        }
    }

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let trouble = Trouble::passing("busy");
        let millis = |jitter, failures| pauses(jitter).after(failures, &trouble).as_millis();
        assert_eq!([0, 1, 2, 3, 4, 99].map(|n| millis(1.0, n)), [100, 200, 400, 800, 1000, 1000]);
        assert_eq!([0, 1, 2, 3, 4, 99].map(|n| millis(0.0, n)), [50, 100, 200, 400, 500, 500]);
    }

    #[test]
    fn a_time_that_the_service_asks_for_is_never_undercut() {
        let asked = Some(Duration::from_secs(20));
        let trouble = Trouble::passing("busy").not_before(asked);
        assert_eq!(pauses(0.0).after(0, &trouble), Duration::from_secs(20));
        assert_eq!(pauses(1.0).after(0, &trouble), Duration::from_secs(25));
        let soon = Trouble::passing("busy").not_before(Some(Duration::ZERO));
        assert_eq!(pauses(1.0).after(1, &soon), Duration::from_millis(200));
    }
}
