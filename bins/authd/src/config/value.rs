//! The types of settings

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use super::error::ConfigError;

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StoreKind {
    /// Lost at exit
    Memory,
    Postgres,
}

/// Parses one of `words`, which the help lists
pub(super) fn one_of<T>(words: &[&'static str]) -> impl TypedValueParser<Value = T> + use<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words.iter().copied()).try_map(|word| word.parse())
}

/// A number in a range, wherever it was set
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(try_from = "u64", into = "u64")]
pub(super) struct Within<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Within<MIN, MAX> {
    pub(super) const fn get(self) -> u32 {
        self.0
    }

    pub(super) fn seconds(self) -> Duration {
        Duration::from_secs(self.0.into())
    }

    pub(super) fn count(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
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

/// Parses one element of a list that is separated by commas, and perhaps by spaces too
///
/// An empty element is refused: the list was probably meant to be left out, and an empty account
/// or network matches nothing.
pub(super) fn entry(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("an entry of the list is empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// Checks a filter of the log
///
/// A word alone is a level. The filter itself would take any word for the name of a module, and then
/// nothing else would be logged.
pub(super) fn log_filter(text: &str) -> Result<String, ConfigError> {
    let wrong = |word: &str| ConfigError::LogFilter { word: word.trim().to_owned() };
    for directive in text.split(',') {
        let is_level = directive.trim().parse::<LevelFilter>().is_ok();
        // An empty text parses as a level, too.
        if directive.trim().is_empty()
            || !is_level && !directive.contains(['=', '[', ']', '{', '}'])
        {
            return Err(wrong(directive));
        }
    }
    EnvFilter::try_new(text).map_err(|_| wrong(text)).map(|_| text.to_owned())
}

/// A connection URL, which may hold a password and is therefore never printed
#[derive(Clone, Deserialize, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Returns the URL itself, to connect with
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for DatabaseUrl {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(..)")
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

/// Deserializes a list of texts: an array, or a text that is separated by commas
///
/// A text is accepted because an error about its type would quote it, and it may be a secret.
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + for<'a> From<&'a str>,
{
    struct List<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de> + for<'a> From<&'a str>> Visitor<'de> for List<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of texts")
        }

        fn visit_str<E>(self, text: &str) -> Result<Vec<T>, E> {
            Ok(text.split(',').map(T::from).collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut texts = Vec::new();
            while let Some(text) = list.next_element()? {
                texts.push(text);
            }
            Ok(texts)
        }
    }

    deserializer.deserialize_any(List(PhantomData)).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_level_is_not_a_filter() {
        for text in ["info", "OFF", "info,store=debug", "warn,authd_http[{request}]=debug"] {
            assert_eq!(log_filter(text).unwrap(), text);
        }
        for (text, word) in [
            ("loud", "loud"),
            ("", ""),
            ("info,,", ""),
            ("info, store", "store"),
            ("a=loud", "a=loud"),
        ] {
            let error = log_filter(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{word}` is not a log filter")), "{error}");
        }
    }

    #[test]
    fn an_entry_of_a_list_is_trimmed_and_not_empty() {
        assert_eq!(entry(" 628783029487").unwrap(), "628783029487");
        assert!(entry(" ").is_err() && entry("").is_err());
    }
}
