//! Run-time parameters of the server in a database URL

use std::time::Duration;

use super::parameters::unknown;
use super::text::Parameter;
use super::{Settings, invalid};
use crate::Error;

/// The settings that are parameters of their own or part of `options`, and the statement timeout,
/// which is separate
pub(super) fn settings(given: Vec<Parameter>) -> Result<(Settings, Option<Duration>), Error> {
    let mut settings = Settings::default();
    for parameter in given {
        if parameter.name == "options" {
            for (name, value) in of_options(&parameter.value)? {
                add(&mut settings, name, value)?;
            }
            continue;
        }
        let name = parameter.name.to_lowercase();
        let is_custom = name.contains('.') && !parameter.follows_secret;
        if !is_setting(&name) || !(is_custom || SETTINGS.contains(&name.as_str())) {
            return Err(unknown(&parameter));
        }
        add(&mut settings, name, parameter.value)?;
    }
    // Sessions are always in UTC.
    settings.0.retain(|(name, _)| name != "timezone");
    let Some(index) = settings.0.iter().position(|(name, _)| name == STATEMENT_TIMEOUT) else {
        return Ok((settings, None));
    };
    let (_, value) = settings.0.remove(index);
    match duration(&value).filter(|duration| !duration.is_zero()) {
        Some(timeout) => Ok((settings, Some(timeout))),
        None => Err(invalid(
            "`statement_timeout` is not a number of milliseconds, or one with a unit such as \
             `5s`, and above zero",
        )),
    }
}

fn add(settings: &mut Settings, name: String, value: String) -> Result<(), Error> {
    if name == "search_path" && value.trim().is_empty() {
        return Err(invalid("`search_path` is empty; expected the name of a schema"));
    }
    match settings.get(&name) {
        Some(other) if other != value => {
            Err(invalid(format_args!("`{name}` is given twice, with different values")))
        }
        Some(_) => Ok(()),
        None => {
            settings.0.push((name, value));
            Ok(())
        }
    }
}

/// The settings in `options`, whose words are `-c NAME=VALUE`, `-cNAME=VALUE` or
/// `--NAME=VALUE`
///
/// Words end at blanks, and `\` escapes the character behind it, as the server reads them
/// (PostgreSQL, `pg_split_opts`).
fn of_options(options: &str) -> Result<Vec<(String, String)>, Error> {
    let mut settings = Vec::new();
    let mut words = words(options).into_iter();
    while let Some(word) = words.next() {
        let setting = match (word.strip_prefix("-c"), word.strip_prefix("--")) {
            (Some(""), _) => words.next(),
            (Some(setting), _) | (_, Some(setting)) => Some(setting.to_owned()),
            (None, None) => None,
        };
        let setting = setting.as_deref().and_then(|setting| setting.split_once('='));
        match setting.map(|(name, value)| (name.to_lowercase().replace('-', "_"), value)) {
            Some((name, value)) if is_setting(&name) => settings.push((name, value.to_owned())),
            _ => {
                return Err(invalid(
                    "`options` holds something else than `-cNAME=VALUE`, separated by blanks",
                ));
            }
        }
    }
    Ok(settings)
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.get_or_insert_default().extend(characters.next()),
            c if is_blank(c) => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The `options` that make the server use these settings
pub(in super::super) fn to_options<'a>(
    settings: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> String {
    let mut options = String::new();
    for (name, value) in settings {
        if !options.is_empty() {
            options.push(' ');
        }
        options.push_str("-c ");
        for character in name.chars().chain(['=']).chain(value.chars()) {
            if character == '\\' || is_blank(character) {
                options.push('\\');
            }
            options.push(character);
        }
    }
    options
}

/// Whether a character ends a word, as C's `isspace`
fn is_blank(character: char) -> bool {
    character.is_ascii_whitespace() || character == '\u{b}'
}

/// Whether a text can be the name of a setting
fn is_setting(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$'))
}

/// A duration as PostgreSQL writes it: milliseconds, or a number with a unit
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit.trim() {
        "us" => return Some(Duration::from_micros(number)),
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let milliseconds = number.checked_mul(milliseconds)?;
    // The longest that the server supports.
    i32::try_from(milliseconds).is_ok().then(|| Duration::from_millis(milliseconds))
}

const STATEMENT_TIMEOUT: &str = "statement_timeout";

/// The settings that may be parameters of their own
///
/// lib/pq sends every unknown parameter to the server. Here only settings that the URL of a
/// control plane might contain are accepted, so that a misspelled `sslmode` is not taken for a
/// setting.
const SETTINGS: [&str; 32] = [
    "bytea_output",
    "client_min_messages",
    "datestyle",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "effective_cache_size",
    "extra_float_digits",
    "geqo",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "jit",
    "jit_above_cost",
    "lc_messages",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "lock_timeout",
    "log_min_duration_statement",
    "log_statement",
    "maintenance_work_mem",
    "plan_cache_mode",
    "random_page_cost",
    "role",
    "row_security",
    "search_path",
    STATEMENT_TIMEOUT,
    "synchronous_commit",
    "timezone",
    "transaction_timeout",
    "work_mem",
    "xmloption",
];
