//! Decisions on subjects, objects and requests that are prepared beforehand
//!
//! The cases are decided in turn: with thousands of subjects, the subject of each decision is not in
//! the nearest caches.

use std::hint::black_box;
use std::time::Instant;

use app_authz::decide;
use app_authz::rbac::{Action, Object, Subject};

use super::corpus::{self, AppQuestion, Corpus};
use crate::{Case, Effort, Goal, Measurement, Row, Setting, Suite, Unit, as_f64};

/// The time of one decision
pub static DECISIONS: Suite = Suite {
    id: "decisions",
    title: "Decisions",
    feature: None,
    rows: &[
        Row::limit(
            "a decision, all subjects in turn: median",
            Unit::Nanoseconds,
            Goal::BelowWithoutAllocation(60.0),
        ),
        Row::limit(
            "a decision, all subjects in turn: 99th percentile",
            Unit::Nanoseconds,
            Goal::Below(120.0),
        ),
        Row::limit(
            "a decision, one subject repeatedly: median",
            Unit::Nanoseconds,
            Goal::Below(40.0),
        ),
        Row::limit(
            "a decision about an app, all in turn: median",
            Unit::Nanoseconds,
            Goal::Below(60.0),
        ),
    ],
    prepare,
};

fn prepare(_: &Setting) -> Vec<Case> {
    let corpus: &Corpus = Box::leak(Box::new(Corpus::read()));
    let apps: &[AppQuestion] = Box::leak(corpus::app_questions().into_boxed_slice());
    let questions: &[Question<'_>] = Box::leak(corpus.questions().into_boxed_slice());
    let origin = if corpus::is_published() {
        "of the folder that AUTHD_VECTORS names"
    } else {
        "made by the program"
    };
    let note = move |count: usize| format!("{count} cases {origin}");

    let in_turn = move |percent| {
        let decide = move |n: usize| questions[n].decide();
        figure(note(questions.len()), move |setting| {
            measure(setting, questions.len() / GROUP, GROUP, percent, &|n| {
                (n * GROUP..(n + 1) * GROUP).for_each(decide);
            })
        })
    };
    let again = figure(note(questions.len()), move |setting| {
        measure(setting, questions.len(), 64, 50, &|n| (0..64).for_each(|_| questions[n].decide()))
    });
    let of_apps = figure(note(apps.len()), move |setting| {
        measure(setting, apps.len() / GROUP, GROUP, 50, &|n| {
            (n * GROUP..(n + 1) * GROUP).for_each(|n| apps[n].decide());
        })
    });
    vec![in_turn(50), in_turn(99), again, of_apps]
}

fn figure(note: String, measure: impl Fn(&Setting) -> Measurement + 'static) -> Case {
    Case::Figure(Box::new(move |setting| measure(setting).with_note(note.clone())))
}

/// Times samples of some operations each, and returns a percentile over the samples for each round
///
/// In a round all samples are measured several times, and the best time of each counts: noise only
/// makes a sample slower.
fn measure(
    setting: &Setting,
    count: usize,
    operations: usize,
    percent: usize,
    sample: &dyn Fn(usize),
) -> Measurement {
    let (rounds, passes) = match setting.effort {
        Effort::Check => (1, 1),
        Effort::Short => (9, 10),
        Effort::Long => (11, 30),
    };
    let [operations, samples] = [operations, count].map(|n| f64::from(u32::try_from(n).unwrap()));
    let round = || {
        let mut samples = vec![f64::INFINITY; count];
        for _ in 0..passes {
            for (n, best) in samples.iter_mut().enumerate() {
                let start = Instant::now();
                sample(n);
                let elapsed = start.elapsed().as_secs_f64() * 1e9;
                *best = best.min(elapsed / operations);
            }
        }
        samples.sort_unstable_by(f64::total_cmp);
        (None, samples[count * percent / 100])
    };
    let rounds = (0..rounds).map(|_| round()).collect();
    let allocations = setting.allocations.map(|allocations| {
        sample(0);
        as_f64(allocations(&mut || (0..count).for_each(sample))) / (operations * samples)
    });
    Measurement { allocations, ..Measurement::of(rounds) }
}

/// So few that each is another's, so many that the clock hardly counts
const GROUP: usize = 10;

/// A prepared decision
pub(super) struct Question<'a> {
    subject: &'a Subject,
    action: &'a Action,
    object: Object<'a>,
}

impl Question<'_> {
    pub(super) fn decide(&self) {
        black_box(black_box(self.subject).is_allowed(self.action, &self.object));
    }
}

impl Corpus {
    pub(super) fn questions(&self) -> Vec<Question<'_>> {
        let question = |case| {
            let case: &app_authz::rbac::Case = case;
            let object = case.object().unwrap();
            Question { subject: case.subject(), action: case.action(), object }
        };
        self.cases.iter().map(question).collect()
    }
}

impl AppQuestion {
    fn decide(&self) {
        let _ = black_box(decide(black_box(&self.target), self.subject.as_deref(), self.rules));
    }
}
