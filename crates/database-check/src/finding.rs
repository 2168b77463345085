use serde::Serialize;

/// The result of one check
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How serious the finding is
    pub state: State,
    /// What was checked, such as the name of a setting
    pub subject: String,
    /// What was found, and what to do about it
    pub text: String,
    /// Whether the finding keeps `serve` from starting
    pub stops: bool,
}

/// How serious a finding is
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be
    Ok,
    /// It works, but perhaps not as intended
    Warning,
    /// Something that the settings ask for cannot work
    Error,
}

impl Finding {
    /// Makes a finding of something that is as it should be
    pub fn ok(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(State::Ok, subject, text)
    }

    /// Makes a finding of something that works, but perhaps not as intended
    pub fn warning(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(State::Warning, subject, text)
    }

    /// Makes a finding of something that cannot work
    pub fn error(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(State::Error, subject, text)
    }

    fn new(state: State, subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self { state, subject: subject.into(), text: text.into(), stops: false }
    }

    /// The same finding, which also keeps `serve` from starting
    #[must_use]
    pub fn stops(self) -> Self {
        Self { stops: true, ..self }
    }

    /// Returns subject and text in one line
    #[must_use]
    pub fn line(&self) -> String {
        format!("{}: {}", self.subject, self.text)
    }
}

impl State {
    /// Returns the state as a word, such as `warning`
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Logs the warnings and errors, and returns the first finding that keeps `serve` from starting
///
/// That finding is not logged.
#[must_use]
pub fn log(findings: &[Finding]) -> Option<&Finding> {
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
