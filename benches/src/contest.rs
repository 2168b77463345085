use std::time::{Duration, Instant};

/// The operations and the duration of one round
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// How many operations were completed
    pub operations: u64,
    /// How long they took
    pub elapsed: Duration,
}

impl Round {
    /// Nanoseconds between two completed operations
    #[must_use]
    #[allow(clippy::as_conversions)] // far below 2^53
    pub fn nanoseconds(&self) -> f64 {
        self.elapsed.as_nanos() as f64 / self.operations.max(1) as f64
    }
}

/// When a round ends
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After this time
    Time(Duration),
    /// After this number of operations
    Operations(u64),
}

/// One side of a comparison: runs a round
///
/// A boxed function, so that each side is compiled once, however many comparisons it is part of.
pub type Side = Box<dyn FnMut(Until) -> Round>;

/// The side that repeats `operation` on this thread
#[must_use]
pub fn repeat(mut operation: Box<dyn FnMut()>) -> Side {
    Box::new(move |until| {
        let start = Instant::now();
        let mut operations = 0;
        loop {
            // Reading the clock takes as long as a fast operation.
            let (some, time) = match until {
                Until::Time(time) => (16, time),
                Until::Operations(operations) => (operations, Duration::ZERO),
            };
            for _ in 0..some {
                operation();
            }
            operations += some;
            let elapsed = start.elapsed();
            if elapsed >= time {
                return Round { operations, elapsed };
            }
        }
    })
}

/// How much time a comparison may take
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Runs everything once, and judges nothing
    Check,
    /// Long enough for medians that can be judged
    Short,
    /// Twice as long
    Long,
}

impl Effort {
    /// [`Effort::Long`] under `cargo bench`, [`Effort::Check`] with `-- --test` and
    /// under `cargo test`
    #[must_use]
    pub fn from_args() -> Self {
        let given = |flag: &str| std::env::args().any(|arg| arg == flag);
        if given("--bench") && !given("--test") { Self::Long } else { Self::Check }
    }
}

/// A comparison in alternating rounds
#[derive(Clone, Copy, Debug)]
pub struct Contest {
    rounds: usize,
    until: Until,
}

impl Contest {
    /// A comparison with as many rounds as `effort` allows
    ///
    /// The rounds of [`Effort::Check`] have a number of operations and not a time, so that the same
    /// is done on every machine.
    #[must_use]
    pub const fn new(effort: Effort) -> Self {
        match effort {
            Effort::Check => Self { rounds: 1, until: Until::Operations(32) },
            Effort::Short => Self { rounds: 21, until: Until::Time(Duration::from_millis(80)) },
            Effort::Long => Self { rounds: 41, until: Until::Time(Duration::from_millis(100)) },
        }
    }

    /// The same with this many times as many rounds, but for [`Effort::Check`]
    #[must_use]
    pub const fn times(self, factor: usize) -> Self {
        match self.until {
            Until::Operations(_) => self,
            Until::Time(_) => Self { rounds: self.rounds * factor, until: self.until },
        }
    }

    /// A comparison that only says which of several sides takes longest
    #[must_use]
    pub const fn scouting(effort: Effort) -> Self {
        match effort {
            Effort::Check => Self::new(effort),
            _ => Self { rounds: 5, until: Until::Time(Duration::from_millis(20)) },
        }
    }

    /// The number of rounds
    #[must_use]
    pub const fn rounds(&self) -> usize {
        self.rounds
    }

    /// Runs all sides in turn, and returns the nanoseconds of each side in each round
    ///
    /// The sides take turns at being first, and a first round of each is discarded.
    pub fn run<const N: usize>(
        &self,
        mut sides: [&mut dyn FnMut(Until) -> Round; N],
    ) -> Vec<[f64; N]> {
        for side in &mut sides {
            side(self.until);
        }
        let round = |first: usize| {
            let mut times = [0.0; N];
            for side in (first..first + N).map(|side| side % N) {
                times[side] = sides[side](self.until).nanoseconds();
            }
            times
        };
        (0..self.rounds).map(round).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_round_ends_after_its_operations_or_its_time() {
        let calls = Rc::new(Cell::new(0));
        let mut side = repeat(Box::new({
            let calls = Rc::clone(&calls);
            move || calls.set(calls.get() + 1)
        }));
        let round = side(Until::Operations(7));
        assert_eq!((round.operations, calls.take()), (7, 7));
        let round = side(Until::Time(Duration::from_millis(1)));
        assert!(round.elapsed >= Duration::from_millis(1));
        assert_eq!(round.operations, calls.get());
    }

    #[test]
    fn sides_take_turns_at_being_first() {
        let order = Rc::new(Cell::new(0));
        let side = |digit| -> Side {
            let order = Rc::clone(&order);
            Box::new(move |_| {
                order.set(order.get() * 10 + digit);
                Round { operations: 1, elapsed: Duration::from_nanos(digit) }
            })
        };
        let (mut a, mut b) = (side(1), side(2));
        let contest = Contest { rounds: 3, until: Until::Operations(1) };
        assert_eq!(contest.run([&mut a, &mut b]), [[1.0, 2.0]; 3]);
        assert_eq!(order.get(), 12_12_21_12);
    }
}
