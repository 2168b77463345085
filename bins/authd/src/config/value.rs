use std::fmt;
use std::str::FromStr;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use store::EncryptionKeys;

use super::ConfigError;

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

/// A setting that is never printed
#[derive(Clone, Deserialize, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct SecretText(String);

impl AsRef<str> for SecretText {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

/// Reads a list of secrets from the file: an array, or a text with commas in between
///
/// The text is taken because an error about its type would quote it.
pub(super) fn secrets<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<SecretText>>, D::Error> {
    struct List;

    impl<'de> Visitor<'de> for List {
        type Value = Vec<SecretText>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of texts")
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(text.split(',').map(SecretText::from).collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut secrets = Vec::new();
            while let Some(secret) = list.next_element()? {
                secrets.push(secret);
            }
            Ok(secrets)
        }
    }

    deserializer.deserialize_any(List).map(Some)
}

/// The keys of the setting; none if its text is empty, as that of a variable may be
pub(super) fn encryption_keys(
    setting: Option<&[SecretText]>,
) -> Result<EncryptionKeys, ConfigError> {
    let keys = match setting {
        Some([only]) if only.as_ref().trim().is_empty() => &[],
        keys => keys.unwrap_or_default(),
    };
    EncryptionKeys::from_base64(keys).map_err(ConfigError::EncryptionKeys)
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
