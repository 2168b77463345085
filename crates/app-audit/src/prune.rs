use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use tokio::time::sleep;

/// Deletes all old rows of a log, and returns how many it deleted
///
/// `forget` deletes the oldest rows, at most the given number, and returns how many it deleted:
/// [`Journal::forget`](crate::Journal::forget) for visits,
/// [`ActJournal::forget_acts`](crate::ActJournal::forget_acts) for acts. It is called for small
/// batches with pauses, so that servers may write to the log meanwhile. The deletion may be
/// interrupted, and any number of processes may do it at the same time. `progress` is called with
/// the number of deleted rows every 100,000 rows.
///
/// # Errors
///
/// Fails with the first error of `forget`. Earlier batches stay deleted.
pub async fn prune<E>(
    mut forget: impl AsyncFnMut(u32) -> Result<u64, E>,
    mut progress: impl FnMut(u64),
) -> Result<u64, E> {
    let mut rows = 0;
    loop {
        let deleted = forget(BATCH).await?;
        rows += deleted;
        if deleted < u64::from(BATCH) {
            return Ok(rows);
        }
        if rows % PROGRESS == 0 {
            progress(rows);
        }
        sleep(PAUSE).await;
    }
}

/// An age in whole days, as an operator writes it: `400d` or `52w`
///
/// It is at least one day and at most 36,500.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    days: u32,
}

impl FromStr for Age {
    type Err = ParseAgeError;

    fn from_str(text: &str) -> Result<Self, ParseAgeError> {
        let (number, days) = match (text.strip_suffix('d'), text.strip_suffix('w')) {
            (Some(number), _) => (number, 1),
            (_, Some(number)) => (number, 7),
            _ => return Err(ParseAgeError),
        };
        // `u32::from_str` accepts a sign.
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseAgeError);
        }
        let days = number.parse::<u32>().ok().and_then(|number| number.checked_mul(days));
        match days {
            Some(days @ 1..=MAX_DAYS) => Ok(Self { days }),
            _ => Err(ParseAgeError),
        }
    }
}

impl From<Age> for Duration {
    fn from(age: Age) -> Self {
        Self::from_secs(86_400).saturating_mul(age.days)
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} days", self.days)
    }
}

/// A text is not an [`Age`]
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not a number of days or weeks such as `400d` or `52w`, of at most 36500 days")]
pub struct ParseAgeError;

/// The longest that any setting lets rows be kept
const MAX_DAYS: u32 = 36_500;

/// Rows of one statement: few enough that it takes a fraction of a second
const BATCH: u32 = 5_000;

/// Deleted rows between two calls of `progress`
const PROGRESS: u64 = 100_000;

/// Pause between two batches, in which the statements of servers go first
const PAUSE: Duration = Duration::from_millis(20);
