use serde::Serialize;

/// The result of one check
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) state: State,
    /// What was checked, such as the name of a setting
    pub(crate) subject: String,
    /// What was found, and what to do about it
    pub(crate) text: String,
    /// Whether it keeps `serve` from starting
    pub(crate) stops: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// As it should be
    Ok,
    /// It works, but perhaps not as intended
    Warning,
    /// Something that the settings ask for cannot work
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

    /// Keeps `serve` from starting
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

/// Logs the warnings and errors, and returns the first finding that keeps `serve` from starting
///
/// That finding is not logged.
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
