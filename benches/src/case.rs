use std::fmt;

use crate::{Contest, Measurement, Setting, Side, Until};

/// What one row measures
pub enum Case {
    /// Two sides in alternating rounds
    Duel(Duel),
    /// Figures that need more than two sides, or another program
    Figure(Box<dyn FnMut(&Setting) -> Measurement>),
}

impl Case {
    /// Measures the row
    pub fn measure(&mut self, setting: &Setting) -> Measurement {
        match self {
            Self::Duel(duel) => duel.measure(setting),
            Self::Figure(measure) => measure(setting),
        }
    }
}

/// Two sides that are compared
pub struct Duel {
    /// The minimum of work, or another way to do it
    pub floor: Side,
    /// Ours
    pub ours: Side,
    statements: Option<Box<dyn Fn() -> u64>>,
    once: Option<Box<dyn FnMut()>>,
}

impl Duel {
    /// Compares two sides
    #[must_use]
    pub const fn new(floor: Side, ours: Side) -> Self {
        Self { floor, ours, statements: None, once: None }
    }

    /// The same, which also counts our statements: `so_far` returns how many there have been
    #[must_use]
    pub fn with_statements(self, so_far: impl Fn() -> u64 + 'static) -> Self {
        Self { statements: Some(Box::new(so_far)), ..self }
    }

    /// The same, which also counts the allocations of one operation of ours on this thread
    #[must_use]
    pub fn with_allocations(self, once: Box<dyn FnMut()>) -> Self {
        Self { once: Some(once), ..self }
    }

    /// Measures both sides
    pub fn measure(&mut self, setting: &Setting) -> Measurement {
        let (mut statements, mut operations) = (0, 0);
        let Self { floor, ours, statements: so_far, once } = self;
        let rounds = {
            let so_far = || so_far.as_ref().map_or(0, |so_far| so_far());
            let mut counted = |until: Until| {
                let before = so_far();
                let round = ours(until);
                statements += so_far() - before;
                operations += round.operations;
                round
            };
            let rounds = Contest::new(setting.effort).run([&mut **floor, &mut counted]);
            rounds.into_iter().map(|[floor, ours]| (Some(floor), ours)).collect()
        };
        let per_operation = as_f64(statements) / as_f64(operations.max(1));
        let allocations = once.as_mut().and_then(|once| {
            let count = setting.allocations?;
            // What is made once, such as a table of a library, is not counted.
            once();
            Some(as_f64(count(&mut **once)))
        });
        Measurement {
            statements: so_far.as_ref().map(|_| per_operation),
            allocations,
            ..Measurement::of(rounds)
        }
    }
}

/// A count, which is far below 2^53
#[allow(clippy::as_conversions)]
pub(crate) const fn as_f64(count: u64) -> f64 {
    count as f64
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Duel(_) => "Duel",
            Self::Figure(_) => "Figure",
        })
    }
}

impl fmt::Debug for Duel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Duel")
    }
}
