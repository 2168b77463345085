//! The checks pass what keeps the rules, and fail each implementation that breaks one

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use agent_auth::conformance::{Rows, Rule, candidates};
use agent_auth::{
    AgentId, AgentToken, BuildId, Candidate, Candidates, DynCandidates, MAX_CANDIDATES,
    ProvenInstance, Standing, WorkspaceId,
};

/// Tables with `bigint` keys and tokens that are texts, and at most one mistake
#[derive(Clone, Debug)]
struct Tables {
    rows: Rows,
    mistake: Option<Mistake>,
    /// By the text of the instance and the build
    pins: Arc<Mutex<BTreeMap<(String, i64), SystemTime>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    AnyCase,
    Wildcards,
    WhiteSpace,
    OneSpelling,
    WithoutHyphens,
    OtherInstances,
    FixedToken,
    OddIdsFail,
    OnlyOneLive,
    OneBuildId,
    BuildOfEachAgent,
    OneWorkspaceId,
    WorkspaceOfEachBuild,
    OneAgentId,
    SubAgents,
    DeletedAgents,
    WithoutBuild,
    AllLive,
    OldestFirst,
    NewestWithAgents,
    DeletedIsStale,
    DeletedIsLeftOut,
    OneWorkspaceOnly,
    NewestFirstOfAll,
    TooFew,
    Unbounded,
    CutBeforeOrder,
    TurningOrder,
    PinMovesBack,
    PinStays,
    PinOfAllInstances,
    PinOfSpelling,
    PinOfSeconds,
    PinOfStale,
    PinOfOneBuild,
    PinNotAskedFor,
}

impl Mistake {
    /// All mistakes, each with rules that it breaks
    const ALL: &[(Self, &[Rule])] = &[
        (Self::AnyCase, &[Rule::SameBytes]),
        (Self::Wildcards, &[Rule::SameBytes]),
        (Self::WhiteSpace, &[Rule::SameBytes]),
        (Self::OneSpelling, &[Rule::UuidInEitherCase]),
        (Self::WithoutHyphens, &[Rule::UuidInEitherCase]),
        (Self::OtherInstances, &[Rule::TheAgent]),
        (Self::FixedToken, &[Rule::TheAgent]),
        (Self::OddIdsFail, &[Rule::AnyText]),
        (Self::OnlyOneLive, &[Rule::AllOfABuild]),
        (Self::OneBuildId, &[Rule::Ids]),
        (Self::BuildOfEachAgent, &[Rule::Ids]),
        (Self::OneWorkspaceId, &[Rule::Ids]),
        (Self::WorkspaceOfEachBuild, &[Rule::Ids]),
        (Self::OneAgentId, &[Rule::Ids]),
        (Self::SubAgents, &[Rule::SubAgents]),
        (Self::DeletedAgents, &[Rule::DeletedAgents]),
        (Self::WithoutBuild, &[Rule::WithoutBuild]),
        (Self::AllLive, &[Rule::EarlierBuilds, Rule::NewerBuildWithoutAgents, Rule::LiveFirst]),
        (Self::OldestFirst, &[Rule::EarlierBuilds, Rule::TwoWorkspaces, Rule::LongHistory]),
        (Self::NewestWithAgents, &[Rule::NewerBuildWithoutAgents]),
        (Self::DeletedIsStale, &[Rule::DeletedWorkspace]),
        (Self::DeletedIsLeftOut, &[Rule::DeletedWorkspace]),
        (Self::OneWorkspaceOnly, &[Rule::TwoWorkspaces]),
        (Self::NewestFirstOfAll, &[Rule::LiveFirst]),
        (Self::TooFew, &[Rule::LongHistory, Rule::TooManyLive]),
        (Self::Unbounded, &[Rule::LongHistory, Rule::TooManyLive]),
        (Self::CutBeforeOrder, &[Rule::LongHistory]),
        (Self::TurningOrder, &[Rule::OneMoment]),
        (Self::PinMovesBack, &[Rule::Pins, Rule::PinOfUuid]),
        (Self::PinStays, &[Rule::Pins]),
        (Self::PinOfAllInstances, &[Rule::Pins]),
        (Self::PinOfSpelling, &[Rule::PinOfUuid]),
        (Self::PinOfSeconds, &[Rule::Pins]),
        (Self::PinOfStale, &[Rule::Pins]),
        (Self::PinOfOneBuild, &[Rule::PinOfEachBuild]),
        (Self::PinNotAskedFor, &[Rule::Pins]),
    ];
}

impl Candidates for Tables {
    type Id = i64;
    type Token = String;
    type Error = std::io::Error;

    async fn by_instance(
        &self,
        instance: ProvenInstance<'_>,
    ) -> Result<Vec<Candidate<i64, String>>, std::io::Error> {
        let has = |mistake| self.mistake == Some(mistake);
        let asked = instance.as_str();
        if has(Mistake::OddIdsFail) && asked.contains('\'') {
            return Err(std::io::Error::other("syntax error"));
        }
        let mut texts: Vec<String> = instance.spellings().collect();
        if has(Mistake::OneSpelling) {
            texts = vec![asked.to_owned()];
        }
        let matches = |stored: &str| match self.mistake {
            Some(Mistake::AnyCase) => stored.eq_ignore_ascii_case(asked),
            Some(Mistake::Wildcards) => asked == "%" || stored == asked,
            Some(Mistake::WhiteSpace) => stored == asked.trim(),
            Some(Mistake::OtherInstances) => stored.starts_with(asked) && !asked.is_empty(),
            Some(Mistake::WithoutHyphens) => {
                stored.replace('-', "").eq_ignore_ascii_case(&asked.replace('-', ""))
            }
            _ => texts.iter().any(|text| text == stored),
        };
        let all = self.rows.agents().map(|(workspace, build, agent)| {
            let mut builds = workspace.builds.iter().rev();
            let newest = if has(Mistake::NewestWithAgents) {
                builds.find(|build| !build.agents.is_empty())
            } else {
                builds.next()
            };
            let is_newest = newest.is_some_and(|newest| newest.number == build.number);
            let standing = match (workspace.is_deleted, is_newest) {
                (true, _) if has(Mistake::DeletedIsStale) => Standing::Stale,
                (true, _) => Standing::Deleted,
                (false, false) if !has(Mistake::AllLive) => Standing::Stale,
                (false, _) => Standing::Live,
            };
            (Some((workspace, build)), agent, standing)
        });
        let bare = self.rows.without_build.iter().filter(|_| has(Mistake::WithoutBuild));
        let all = all.chain(bare.map(|agent| (None, agent, Standing::Live)));
        let mut found: Vec<_> = all
            .filter(|(_, agent, standing)| {
                matches(&agent.instance)
                    && (!agent.is_sub_agent || has(Mistake::SubAgents))
                    && (!agent.is_deleted || has(Mistake::DeletedAgents))
                    && (*standing != Standing::Deleted || !has(Mistake::DeletedIsLeftOut))
            })
            .collect();
        if has(Mistake::CutBeforeOrder) {
            found.truncate(MAX_CANDIDATES + 1);
        }
        found.sort_by_key(|(_, agent, standing)| {
            let past = *standing != Standing::Live && !has(Mistake::NewestFirstOfAll);
            (past, Reverse(agent.created_at), agent.token)
        });
        if has(Mistake::OldestFirst) {
            found.sort_by_key(|(_, agent, standing)| {
                (*standing != Standing::Live, agent.created_at)
            });
        }
        if has(Mistake::TurningOrder) && found.len() > 1 {
            let turn = TURNS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let length = found.len();
            found.rotate_left(turn % length);
        }
        let most = match self.mistake {
            Some(Mistake::TooFew) => MAX_CANDIDATES,
            Some(Mistake::Unbounded) => usize::MAX,
            Some(Mistake::OnlyOneLive) => 1,
            _ => MAX_CANDIDATES + 1,
        };
        found.truncate(most);
        if has(Mistake::OneWorkspaceOnly)
            && let Some((Some((first, _)), ..)) = found.first().copied()
        {
            found.retain(|(of, ..)| of.is_some_and(|(workspace, _)| workspace.name == first.name));
        }
        let mut pinned_builds = BTreeSet::new();
        let candidates = found.into_iter().map(|(of, agent, standing)| {
            let workspace = of.map_or(0, |(workspace, _)| self.key(&workspace.name));
            let build = of.map_or(0, |(_, build)| workspace * 1_000 + i64::from(build.number));
            let token = agent.token.to_string();
            let id = self.key(&token);
            let pin = if standing == Standing::Live || has(Mistake::PinOfStale) {
                pinned_builds.insert(build);
                let is_left_out = has(Mistake::PinOfOneBuild) && pinned_builds.len() > 1;
                self.pin(instance, build).filter(|_| !is_left_out)
            } else {
                None
            };
            Candidate::new(
                AgentId(if has(Mistake::OneAgentId) { 1 } else { id }),
                agent.name.clone(),
                AgentToken::new(if has(Mistake::FixedToken) { "token".to_owned() } else { token }),
                BuildId(match self.mistake {
                    Some(Mistake::OneBuildId) => 1,
                    Some(Mistake::BuildOfEachAgent) => id,
                    _ => build,
                }),
                WorkspaceId(match self.mistake {
                    Some(Mistake::OneWorkspaceId) => 1,
                    Some(Mistake::WorkspaceOfEachBuild) => build,
                    _ => workspace,
                }),
                standing,
            )
            .with_pinned(pin)
        });
        Ok(candidates.collect())
    }
}

static TURNS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

impl Tables {
    fn new(rows: Rows, mistake: Option<Mistake>) -> Self {
        Self { rows, mistake, pins: Arc::default() }
    }

    /// Moves the pin of an instance in a build
    fn pin(&self, instance: ProvenInstance<'_>, build: i64) -> Option<SystemTime> {
        let spelling = match self.mistake {
            Some(Mistake::PinOfAllInstances) => String::new(),
            Some(Mistake::PinOfSpelling) => instance.as_str().to_owned(),
            _ => instance.spellings().next().unwrap(),
        };
        let mut pins = self.pins.lock().unwrap();
        let pin = pins.get(&(spelling.clone(), build)).copied();
        let Some(moment) = instance.moment() else {
            return pin.filter(|_| self.mistake == Some(Mistake::PinNotAskedFor));
        };
        let pinned = match (self.mistake, pin) {
            (Some(Mistake::PinMovesBack), _) | (_, None) => moment,
            (Some(Mistake::PinStays), Some(pin)) => pin,
            (_, Some(pin)) => pin.max(moment),
        };
        pins.insert((spelling, build), pinned);
        Some(match self.mistake {
            Some(Mistake::PinOfSeconds) => {
                let since = pinned.duration_since(SystemTime::UNIX_EPOCH).unwrap();
                SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(since.as_secs())
            }
            _ => pinned,
        })
    }

    /// The key of the row with this name or token
    fn key(&self, text: &str) -> i64 {
        let names = self.rows.workspaces.iter().map(|workspace| workspace.name.clone());
        let agents = self.rows.agents().map(|(_, _, agent)| agent);
        let tokens = agents.chain(&self.rows.without_build).map(|agent| agent.token.to_string());
        i64::try_from(names.chain(tokens).position(|other| other == text).unwrap()).unwrap()
    }
}

async fn correct(rows: &Rows) -> Tables {
    Tables::new(rows.clone(), None)
}

mod each_rule_is_a_test {
    agent_auth::candidates_conformance!(super::correct);
}

#[tokio::test]
async fn references_arcs_boxes_and_objects_keep_the_rules_too() {
    candidates(async |rows: &Rows| Arc::new(correct(rows).await)).await;
    candidates(async |rows: &Rows| Box::new(correct(rows).await)).await;
    candidates(async |rows: &Rows| &*Box::leak(Box::new(correct(rows).await))).await;
    candidates(async |rows: &Rows| {
        let object: Arc<dyn DynCandidates<i64, String>> = Arc::new(correct(rows).await);
        object
    })
    .await;
}

#[tokio::test]
async fn each_mistake_breaks_its_rules_and_each_rule_can_be_broken() {
    let mut broken = BTreeSet::new();
    for (mistake, rules) in Mistake::ALL {
        for rule in *rules {
            let tables = Tables::new(rule.rows(), Some(*mistake));
            let checked = rule.check(&tables).await;
            let Err(found) = checked else { panic!("{mistake:?} does not break {rule:?}") };
            assert_eq!(found.rule(), *rule);
            assert!(found.to_string().contains(rule.name()), "{found}");
            broken.insert(*rule);
        }
    }
    assert_eq!(broken, Rule::ALL.iter().copied().collect());
}

#[tokio::test]
#[should_panic(
    expected = "the rule `ids_are_compared_byte_for_byte` is broken: the number of agents of \"I-0ABC\": 1 instead of 0"
)]
async fn a_broken_rule_is_named() {
    candidates(async |rows: &Rows| Tables::new(rows.clone(), Some(Mistake::AnyCase))).await;
}

/// What is chosen while the program runs keeps its errors
#[tokio::test]
async fn an_erased_error_prints_as_the_error_inside() {
    let tables = Tables::new(Rows::default(), Some(Mistake::OddIdsFail));
    let object: Box<dyn DynCandidates<i64, String>> = Box::new(tables);
    let error = object.by_instance(ProvenInstance::assume_verified("'")).await.unwrap_err();
    assert_eq!(error.to_string(), "syntax error");
    assert!(error.get_ref().downcast_ref::<std::io::Error>().is_some());
    assert!(error.get_ref().downcast_ref::<Infallible>().is_none());
}
