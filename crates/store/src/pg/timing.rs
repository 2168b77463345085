//! Times of statements and of waiting for connections

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::facts::{Durations, Question, QuestionFacts};

/// The times of all statements, by question
#[derive(Debug, Default)]
pub(super) struct Statements([StatementTimes; Question::ALL.len()]);

#[derive(Debug, Default)]
struct StatementTimes {
    durations: Histogram,
    failures: AtomicU64,
}

impl Statements {
    /// Counts a statement that has ended
    pub(super) fn ended(&self, question: Question, took: Duration, succeeded: bool) {
        let times = Question::ALL.iter().zip(&self.0).find(|(other, _)| **other == question);
        if let Some((_, times)) = times {
            times.durations.add(took);
            if !succeeded {
                times.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The questions that were asked at least once
    pub(super) fn facts(&self) -> Vec<QuestionFacts> {
        let asked = Question::ALL.iter().zip(&self.0).map(|(question, times)| QuestionFacts {
            question: *question,
            durations: times.durations.read(),
            failures: times.failures.load(Ordering::Relaxed),
        });
        asked.filter(|facts| facts.durations.count() > 0).collect()
    }
}

/// Durations that are counted by several threads without a lock
#[derive(Debug, Default)]
pub(super) struct Histogram {
    counts: [AtomicU64; Durations::BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Histogram {
    pub(super) fn add(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = Durations::BOUNDS.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Durations {
        Durations {
            counts: self.counts.each_ref().map(|count| count.load(Ordering::Relaxed)),
            sum: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
        }
    }
}

/// A number that is one higher until the value is dropped
#[derive(Debug)]
pub(super) struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    pub(super) fn new(number: &'a AtomicU64) -> Self {
        number.fetch_add(1, Ordering::Relaxed);
        Self(number)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_whose_bound_is_not_below_it() {
        let histogram = Histogram::default();
        for (duration, bucket) in [
            (Duration::ZERO, 0),
            (Duration::from_micros(100), 0),
            (Duration::from_micros(101), 1),
            (Duration::from_secs(10), Durations::BOUNDS.len() - 1),
            (Duration::from_secs(11), Durations::BOUNDS.len()),
            (Duration::MAX, Durations::BOUNDS.len()),
        ] {
            let before = histogram.read().counts[bucket];
            histogram.add(duration);
            assert_eq!(histogram.read().counts[bucket], before + 1, "{duration:?}");
        }
        assert_eq!(histogram.read().count(), 6);
    }

    #[test]
    fn questions_that_were_never_asked_are_left_out() {
        let statements = Statements::default();
        statements.ended(Question::Other, Duration::from_millis(2), true);
        statements.ended(Question::Other, Duration::from_millis(2), false);
        let facts = statements.facts();
        let [other] = &facts[..] else { panic!("{facts:?}") };
        assert_eq!((other.question, other.failures), (Question::Other, 1));
        assert_eq!((other.durations.count(), other.durations.sum), (2, Duration::from_millis(4)));
    }
}
