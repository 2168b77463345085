//! Decisions and app tokens: absolute times, and comparisons with other engines
//!
//! `cargo bench -p authd-benches --bench app_authz`, with `-- --test` for a quick check
//! that it runs, and with `--features peers` to have `cedar-policy` and `regorus` decide
//! the same cases under an equivalent policy.
//!
//! Subjects, objects, requests and entities are prepared beforehand, on every side. The cases are
//! decided in turn: with thousands of subjects, the subject of each decision is not in the nearest
//! caches. The time for the same subject in repeated decisions is printed too.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod corpus;
#[cfg(feature = "peers")]
mod peers;
mod tokens;

use std::hint::black_box;
use std::time::Duration;

use app_authz::decide;
use app_authz::rbac::{Action, Object, Subject};
use authd_benches::{Contest, Effort, Report, Round, Spread};
use criterion::Criterion;

use corpus::{AppQuestion, Corpus};

fn main() {
    let effort = Effort::from_args();
    let contest = Contest::new(effort);
    let corpus = Corpus::read();
    let apps = corpus::app_questions();
    let origin = if corpus::is_published() { "published" } else { "minted, NONE PUBLISHED HERE" };
    println!("{} decisions and {} of apps, {origin}\n", corpus.cases.len(), apps.len());

    let mut criterion = Criterion::default().configure_from_args();
    decisions(&corpus, &apps, effort, &mut criterion);

    let mut report = Report::default();
    #[cfg(feature = "peers")]
    peers::compare(&corpus, &contest, &mut report);
    for side in [tokens::hs512(), tokens::eddsa()] {
        let result = contest.run(
            |time: Duration| Round::of(time, || (side.floor)()),
            |time: Duration| Round::of(time, || (side.ours)()),
        );
        report.at_most(side.name, result, 1.15);
    }
    println!("one core, time for one decision or token\n\n{report}");
    criterion.final_summary();
}

/// A prepared decision
struct Question<'a> {
    subject: &'a Subject,
    action: &'a Action,
    object: Object<'a>,
}

impl Question<'_> {
    fn decide(&self) {
        black_box(black_box(self.subject).is_allowed(self.action, &self.object));
    }
}

impl Corpus {
    fn questions(&self) -> Vec<Question<'_>> {
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

/// Cycles through the numbers below `count`
fn cycle(count: usize) -> impl FnMut() -> usize {
    let mut next = 0;
    move || {
        let n = next;
        next = if n + 1 == count { 0 } else { n + 1 };
        n
    }
}

/// The time of one decision: the median and the slow tail
fn decisions(corpus: &Corpus, apps: &[AppQuestion], effort: Effort, criterion: &mut Criterion) {
    let questions = corpus.questions();
    let in_turn = |count: usize, decide: &dyn Fn(usize)| {
        // So few that each is another's, so many that the clock hardly counts.
        Spread::of(effort, count / 10, 10, |n| (n * 10..n * 10 + 10).for_each(decide))
    };
    let all = in_turn(questions.len(), &|n| questions[n].decide());
    let again = Spread::of(effort, questions.len(), 64, |n| {
        (0..64).for_each(|_| questions[n].decide());
    });
    let of_apps = in_turn(apps.len(), &|n| apps[n].decide());
    println!("a decision, all subjects in turn       {all}");
    println!("a decision, one subject repeatedly     {again}");
    println!("a decision about an app, all in turn   {of_apps}\n");

    let mut group = criterion.benchmark_group("app_authz");
    let mut next = cycle(questions.len());
    group.bench_function("decision", |b| b.iter(|| questions[next()].decide()));
    let mut next = cycle(apps.len());
    group.bench_function("decision about an app", |b| b.iter(|| apps[next()].decide()));
    for side in [tokens::hs512(), tokens::eddsa()] {
        group.bench_function(format!("{}/ours", side.name), |b| b.iter(|| (side.ours)()));
        group.bench_function(format!("{}/floor", side.name), |b| b.iter(|| (side.floor)()));
    }
    group.finish();
}
