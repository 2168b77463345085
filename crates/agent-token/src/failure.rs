use std::fmt;
use std::time::Duration;

/// Why an attempt failed, and whether another one could succeed
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What is wrong, as an operator reads it
    pub(crate) message: String,
    pub(crate) kind: FailureKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The same attempt may succeed later
    Transient {
        /// The pause that the service asked for
        retry_after: Option<Duration>,
    },
    /// The machine, its cloud or the control plane has to be changed first
    Permanent,
}

impl Failure {
    pub(crate) fn transient(message: impl Into<String>) -> Self {
        let kind = FailureKind::Transient { retry_after: None };
        Self { message: message.into(), kind }
    }

    pub(crate) fn permanent(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: FailureKind::Permanent }
    }

    pub(crate) const fn is_permanent(&self) -> bool {
        matches!(self.kind, FailureKind::Permanent)
    }

    /// Adds the pause that the service asked for; a permanent failure stays as it is
    pub(crate) fn retry_after(self, retry_after: Option<Duration>) -> Self {
        match self.kind {
            FailureKind::Transient { .. } => {
                Self { kind: FailureKind::Transient { retry_after }, ..self }
            }
            FailureKind::Permanent => self,
        }
    }

    /// Returns the pause that the service asked for
    pub(crate) const fn asked(&self) -> Option<Duration> {
        match self.kind {
            FailureKind::Transient { retry_after } => retry_after,
            FailureKind::Permanent => None,
        }
    }

    /// Joins the failures at two addresses of one service; the result is transient if either is
    pub(crate) fn and(self, other: &Self) -> Self {
        let kind = if self.is_permanent() { other.kind } else { self.kind };
        Self { kind, ..self }.with(&format!("; {other}"))
    }

    /// Appends `text` to the message
    pub(crate) fn with(mut self, text: &str) -> Self {
        self.message.push_str(text);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
