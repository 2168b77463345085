//! Other engines under an equivalent policy, with everything they need prepared

#[cfg(feature = "peers")]
mod cedar;
#[cfg(feature = "peers")]
mod rego;

#[cfg(feature = "peers")]
use super::corpus::Corpus;
use crate::{Case, Goal, Row, Setting, Suite};
#[cfg(feature = "peers")]
use crate::{Duel, Measurement, repeat};

/// Decisions of other engines
pub static PEERS: Suite = Suite {
    id: "peers",
    title: "Decisions: against other engines",
    feature: Some("peers"),
    rows: &[
        Row::new("a decision", "`cedar-policy` 4.14, eleven policies", Goal::AtLeast(50.0)),
        Row::new(
            "a decision, as a rule",
            "`regorus` 0.14, one policy in Rego",
            Goal::AtLeast(300.0),
        ),
    ],
    prepare,
};

#[cfg(not(feature = "peers"))]
fn prepare(_: &Setting) -> Vec<Case> {
    Vec::new()
}

#[cfg(feature = "peers")]
fn prepare(_: &Setting) -> Vec<Case> {
    let corpus: &'static Corpus = Box::leak(Box::new(Corpus::read()));
    let cedar = cedar::Engine::new(&corpus.texts);
    let rego = rego::Engine::new(&corpus.texts);
    vec![against(Box::new(cedar), corpus), against(Box::new(rego), corpus)]
}

/// An engine with all cases of the corpus prepared
#[cfg(feature = "peers")]
trait Peer {
    /// Decides the case
    fn decide(&mut self, n: usize) -> Result<bool, String>;
}

/// Compares an engine that agrees on every case; another one is not measured
#[cfg(feature = "peers")]
fn against(mut peer: Box<dyn Peer>, corpus: &'static Corpus) -> Case {
    let mut answers = corpus.cases.iter().enumerate().map(|(n, case)| (case, peer.decide(n)));
    let differs = answers.find(|(case, answer)| *answer != Ok(case.expected == Some(true)));
    if let Some((case, answer)) = differs {
        let note = format!("not measured: on case {} it says {answer:?}", case.number);
        return Case::Figure(Box::new(move |_| {
            Measurement::of(vec![(None, f64::NAN)]).with_note(note.clone())
        }));
    }
    let questions = corpus.questions();
    let (mut theirs, mut ours) = (cycle(questions.len()), cycle(questions.len()));
    Case::Duel(Duel::new(
        repeat(Box::new(move || assert!(peer.decide(theirs()).is_ok()))),
        repeat(Box::new(move || questions[ours()].decide())),
    ))
}

/// Cycles through the numbers below `count`
#[cfg(feature = "peers")]
fn cycle(count: usize) -> impl FnMut() -> usize {
    let mut next = 0;
    move || {
        let n = next;
        next = if n + 1 == count { 0 } else { n + 1 };
        n
    }
}
