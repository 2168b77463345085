//! Whether authd can work with its settings, trust and database
//!
//! `authd check` prints all findings; `authd serve` looks for the same and says the same.

mod database;
mod releases;
mod settings;
mod trust;

use serde::Serialize;

pub(crate) use self::database::{asked, look};
pub(crate) use self::releases::TESTED;
pub(crate) use self::settings::findings as of_settings;
pub(crate) use self::trust::{findings as of_trust, idle as idle_trust, missing as missing_trust};

/// Something that was looked at
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) state: State,
    /// What was looked at, such as the name of a setting
    pub(crate) subject: String,
    /// What was found, and what to do about it
    pub(crate) text: String,
    /// Whether `serve` does not start with it
    pub(crate) stops: bool,
}

/// How it is with what was looked at
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// As it should be
    Ok,
    /// Worth a look: it works, and perhaps not as intended
    Warning,
    /// Something that is asked for cannot work
    Error,
}

impl Finding {
    pub(crate) fn ok(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(State::Ok, subject, text)
    }

    pub(crate) fn warning(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(State::Warning, subject, text)
    }

    pub(crate) fn error(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(State::Error, subject, text)
    }

    fn new(state: State, subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self { state, subject: subject.into(), text: text.into(), stops: false }
    }

    /// The same, and `serve` does not start with it
    pub(crate) fn stops(self) -> Self {
        Self { stops: true, ..self }
    }

    /// Subject and text in one line
    pub(crate) fn line(&self) -> String {
        format!("{}: {}", self.subject, self.text)
    }
}

impl State {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Writes what is not as it should be to the log, and returns the first finding that `serve`
/// does not start with
pub(crate) fn log(findings: &[Finding]) -> Option<&Finding> {
    let stop = findings.iter().find(|finding| finding.stops);
    for finding in findings.iter().filter(|finding| Some(*finding) != stop) {
        let Finding { subject, text, .. } = finding;
        match finding.state {
            State::Ok => {}
            State::Warning => tracing::warn!(subject, "{text}"),
            State::Error => tracing::error!(subject, "{text}"),
        }
    }
    stop
}
