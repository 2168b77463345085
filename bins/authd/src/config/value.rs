use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number that makes sense, wherever it was set
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(try_from = "u64", into = "u64")]
pub(super) struct Within<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Within<MIN, MAX> {
    pub(super) const fn get(self) -> u32 {
        self.0
    }
}

impl<const MIN: u32, const MAX: u32> TryFrom<u64> for Within<MIN, MAX> {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, String> {
        u32::try_from(number)
            .ok()
            .filter(|number| (MIN..=MAX).contains(number))
            .map(Self)
            .ok_or_else(|| format!("{number} is not in {MIN}..={MAX}"))
    }
}

impl<const MIN: u32, const MAX: u32> FromStr for Within<MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<u64>().map_err(|error| error.to_string())?.try_into()
    }
}

impl<const MIN: u32, const MAX: u32> From<Within<MIN, MAX>> for u64 {
    fn from(number: Within<MIN, MAX>) -> Self {
        number.0.into()
    }
}

/// One element of a list that is separated by commas, and perhaps by spaces too
///
/// An empty one would be an account or a network that nobody has: a list that was meant to
/// be left out.
pub(super) fn entry(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("an entry of the list is empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_a_list_has_no_spaces_around_it_and_is_something() {
        assert_eq!(entry(" 628783029487").unwrap(), "628783029487");
        assert!(entry(" ").is_err() && entry("").is_err());
    }
}
