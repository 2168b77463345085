use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

/// A place in the log of revocations: a moment of the database, in microseconds since 1970, and the
/// key of an entry of that moment
///
/// Positions of all replicas are comparable, since the database stamps them. Only the moment counts:
/// a listener goes on a little before it, since entries may be late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    micros: u64,
    entry: Option<Uuid>,
}

impl Position {
    pub(crate) fn at(moment: SystemTime) -> Self {
        let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { micros: u64::try_from(since.as_micros()).unwrap_or(u64::MAX), entry: None }
    }

    pub(crate) fn of_entry(entry: Uuid, at: SystemTime) -> Self {
        Self { entry: Some(entry), ..Self::at(at) }
    }

    /// The moment that is so much earlier, but not before 1970
    pub(crate) fn before(self, span: Duration) -> SystemTime {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_micros(self.micros);
        let earliest = SystemTime::UNIX_EPOCH;
        moment.checked_sub(span).unwrap_or(earliest).max(earliest)
    }

    /// The position that is so much later
    pub(crate) fn after(self, span: Duration) -> Self {
        Self::at(SystemTime::UNIX_EPOCH + Duration::from_micros(self.micros) + span)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry {
            Some(entry) => write!(f, "{}-{entry}", self.micros),
            None => write!(f, "{}", self.micros),
        }
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (micros, entry) = match text.split_once('-') {
            Some((micros, entry)) => (micros, Some(entry)),
            None => (text, None),
        };
        // Digits alone, up to the year 5138, so that no sum with them overflows.
        let is_number = (1..=MAX_DIGITS).contains(&micros.len());
        if !is_number || !micros.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidPosition);
        }
        let entry = entry.map(Uuid::try_parse).transpose().map_err(|_| InvalidPosition)?;
        Ok(Self { micros: micros.parse().map_err(|_| InvalidPosition)?, entry })
    }
}

/// A text is not a position
#[derive(Clone, Copy, Debug)]
pub(crate) struct InvalidPosition;

const MAX_DIGITS: usize = 17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back_as_it_was_written() {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_800_000_123_456);
        let entry = Position::of_entry(Uuid::from_u128(7), moment);
        let text = "1795800000123456-00000000-0000-0000-0000-000000000007";
        assert_eq!(entry.to_string(), text);
        for position in [entry, Position::at(moment)] {
            assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
            assert_eq!(position.before(Duration::ZERO), moment);
        }
        assert!(entry < entry.after(Duration::from_micros(1)));
    }

    #[test]
    fn other_texts_are_refused() {
        let long = "9".repeat(18);
        for text in ["", "-", "1-", "-1", "+1", "1-x", "1 ", "1.5", "0x1", "١", &long] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
        // The latest that is accepted can still be added to.
        let latest = "9".repeat(17).parse::<Position>().unwrap();
        assert!(latest.after(Duration::from_secs(10)) > latest);
        assert_eq!("1".parse::<Position>().unwrap().before(KEPT_LONG), SystemTime::UNIX_EPOCH);
    }

    const KEPT_LONG: Duration = Duration::from_secs(3600);
}
