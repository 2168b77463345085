//! Other engines under an equivalent policy, with everything they need prepared

mod cedar;
mod rego;

use authd_benches::{Contest, Report, Round};

use crate::corpus::Corpus;
use crate::cycle;

/// An engine with all cases of the corpus prepared
trait Peer {
    /// Decides the case
    fn decide(&mut self, n: usize) -> Result<bool, String>;
}

/// Adds to the table each engine that agrees on every case
///
/// The goals are those of the project: 50 times as fast as Cedar, 300 times as fast as
/// an interpreter of Rego.
pub(crate) fn compare(corpus: &Corpus, contest: &Contest, report: &mut Report) {
    let mut cedar = cedar::Engine::new(&corpus.texts);
    against("cedar-policy, 11 policies", &mut cedar, 50.0, corpus, contest, report);
    let mut rego = rego::Engine::new(&corpus.texts);
    against("regorus, one policy in Rego", &mut rego, 300.0, corpus, contest, report);
}

fn against(
    name: &str,
    peer: &mut dyn Peer,
    goal: f64,
    corpus: &Corpus,
    contest: &Contest,
    report: &mut Report,
) {
    let mut answers = corpus.cases.iter().enumerate().map(|(n, case)| (case, peer.decide(n)));
    let differs = answers.find(|(case, answer)| *answer != Ok(case.expected == Some(true)));
    if let Some((case, answer)) = differs {
        println!("{name} is not measured: on case {} it says {answer:?}", case.number);
        return;
    }
    let questions = corpus.questions();
    let (mut theirs, mut ours) = (cycle(questions.len()), cycle(questions.len()));
    let result = contest.run(
        |time| Round::of(time, || assert!(peer.decide(theirs()).is_ok())),
        |time| Round::of(time, || questions[ours()].decide()),
    );
    report.faster(name, result, goal);
}
