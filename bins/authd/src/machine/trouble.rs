use std::fmt;
use std::time::Duration;

/// Why an attempt failed, and whether another one could succeed
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// What is wrong, as it is shown to operators
    pub(super) what: String,
    pub(super) cure: Cure,
}

/// What could make the next attempt succeed
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cure {
    /// Time, at least as much as the service asks for
    Waiting(Option<Duration>),
    /// A change of the machine, its cloud or the control plane
    Change,
}

impl Trouble {
    /// Worth another attempt
    pub(super) fn passing(what: impl Into<String>) -> Self {
        Self { what: what.into(), cure: Cure::Waiting(None) }
    }

    /// Not worth another attempt
    pub(super) fn lasting(what: impl Into<String>) -> Self {
        Self { what: what.into(), cure: Cure::Change }
    }

    pub(super) const fn is_lasting(&self) -> bool {
        matches!(self.cure, Cure::Change)
    }

    /// The same, not to be tried again before `pause` is over
    pub(super) fn not_before(self, pause: Option<Duration>) -> Self {
        match self.cure {
            Cure::Waiting(_) => Self { cure: Cure::Waiting(pause), ..self },
            Cure::Change => self,
        }
    }

    /// Both, at two addresses of one service: worth another attempt if either is
    pub(super) fn and(self, other: &Self) -> Self {
        let cure = if self.is_lasting() { other.cure } else { self.cure };
        Self { cure, ..self }.with(&format!("; {other}"))
    }

    /// The same with more words behind it
    pub(super) fn with(mut self, more: &str) -> Self {
        self.what.push_str(more);
        self
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}
