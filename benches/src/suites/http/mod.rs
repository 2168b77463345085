//! App access over HTTP, compared with servers of plain hyper
//!
//! Sixteen callers, each with its own persistent connection. Ours is the service as `authd serve`
//! runs it, over a PostgreSQL that writes to disk before it answers a commit. The floors are hyper
//! servers on the same runtime. They read the same requests, and answer with the status, the headers
//! and the body that ours has answered once. Callers, servers and database share the machine, so the
//! cost of a caller is on both sides of each ratio.

mod client;
mod floors;
mod profile;
mod world;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use hyper::StatusCode;

use self::client::{Asked, Caller};
pub use self::profile::{Profiled, profile};
use self::world::World;
use super::CALLERS;
use crate::{
    Case, Duel, Effort, Goal, Operation, Round, Row, Setting, Side, Suite, Until, callers,
    operation,
};

/// Tokens for proxies, from the request to the answer
pub static ISSUING: Suite = Suite {
    id: "issuing",
    title: "App tokens over HTTP: against a server that runs the same statement",
    feature: None,
    rows: &[
        Row::new(
            "token issued, the same visitors",
            "hyper, the same statement on as many shared connections",
            Goal::AtLeast(0.85),
        ),
        Row::new(
            "token issued, a new visitor each time",
            "the same and one durable insert",
            Goal::AtLeast(0.6),
        ),
    ],
    prepare: prepare_issuing,
};

/// Checks of visits for a proxy
pub static FORWARD_AUTH: Suite = Suite {
    id: "forward-auth",
    title: "Forward auth over HTTP: against a server that only answers",
    feature: None,
    rows: &[
        Row::new("a token as seen before", "hyper, the same headers", Goal::AtLeast(0.85)),
        Row::new("a token not seen recently", "hyper, the same headers", Goal::AtLeast(0.85)),
    ],
    prepare: prepare_forward_auth,
};

fn prepare_issuing(setting: &Setting) -> Vec<Case> {
    let world = setting.runtime.block_on(World::new(setting));
    let case = |floor: SocketAddr, visitor: fn() -> u64| {
        let issue = |address, status| {
            let (world, callers) = (Arc::clone(&world), Caller::of(address, CALLERS));
            operation(move |caller, _| {
                let (asked, callers) = (world.issue(visitor()), Arc::clone(&callers));
                async move { assert_eq!(callers[caller].ask(&asked).await.status, status) }
            })
        };
        let side = |issue: Operation| callers(&setting.runtime, CALLERS, issue);
        let floor = side(issue(floor, StatusCode::CREATED));
        let ours = until_written(setting, &world, side(issue(world.authd, StatusCode::CREATED)));
        let statements = world.statements.clone();
        Case::Duel(Duel::new(floor, ours).with_statements(move || statements.get()))
    };
    vec![case(world.reads, same_visitors), case(world.reads_and_writes, new_visitor)]
}

/// Counts the time until the rows of all visits are written, although visitors do not wait for them
fn until_written(setting: &Setting, world: &Arc<World>, mut ours: Side) -> Side {
    let (runtime, world) = (Arc::clone(&setting.runtime), Arc::clone(world));
    Box::new(move |until: Until| {
        let start = Instant::now();
        let Round { operations, .. } = ours(until);
        runtime.block_on(world.written());
        Round { operations, elapsed: start.elapsed() }
    })
}

/// The same few visitors again and again, each after the others: identical requests at the same
/// moment would share one decision
fn same_visitors() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    FIRST_OF_SAME + NEXT.fetch_add(1, Ordering::Relaxed) % 64
}

/// Beyond all new visitors
const FIRST_OF_SAME: u64 = 1 << 31;

/// A new visitor each time, across all rounds
fn new_visitor() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn prepare_forward_auth(setting: &Setting) -> Vec<Case> {
    let world = setting.runtime.block_on(World::new(setting));
    let many = if setting.effort == Effort::Check { 16 } else { MANY };
    vec![forward_auth(setting, &world, 1), forward_auth(setting, &world, many)]
}

fn forward_auth(setting: &Setting, world: &Arc<World>, tokens: usize) -> Case {
    let visits = Arc::new(Visits::default());
    let side = |address: SocketAddr| -> Side {
        let callers_of = Caller::of(address, CALLERS);
        let check = operation({
            let visits = Arc::clone(&visits);
            move |caller, _| {
                let (visit, callers) = (visits.next(), Arc::clone(&callers_of));
                async move { assert_eq!(callers[caller].ask(&visit).await.status, StatusCode::OK) }
            }
        });
        let mut checks = callers(&setting.runtime, CALLERS, check);
        let (runtime, visits, world) =
            (Arc::clone(&setting.runtime), Arc::clone(&visits), Arc::clone(world));
        Box::new(move |until| {
            runtime.block_on(visits.refresh(&world, tokens));
            checks(until)
        })
    };
    let duel = Duel::new(side(world.plain), side(world.authd));
    let (statements, visits) = (world.statements.clone(), Arc::clone(&visits));
    Case::Duel(duel.with_statements(move || statements.get() - visits.statements()))
}

/// Tokens, and when they were made
type Minted = (Instant, Vec<Arc<Asked>>);

/// Checks with tokens that are good for the next round
#[derive(Default)]
struct Visits {
    current: RwLock<Option<Minted>>,
    next: AtomicUsize,
    /// The statements of making tokens
    statements: AtomicU64,
}

impl Visits {
    fn next(&self) -> Arc<Asked> {
        let current = self.current.read().unwrap();
        let (_, visits) = current.as_ref().unwrap();
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        Arc::clone(&visits[next % visits.len()])
    }

    /// Makes new tokens if the present ones could end during a round
    async fn refresh(&self, world: &World, count: usize) {
        let is_fresh = |made: &Instant| made.elapsed() < FRESH;
        if self.current.read().unwrap().as_ref().is_some_and(|(made, _)| is_fresh(made)) {
            return;
        }
        let before = world.statements.get();
        let made = Instant::now();
        let visits = world.visits(&Caller::of(world.authd, 1)[0], count).await;
        world.written().await;
        let visits = visits.into_iter().map(Arc::new).collect();
        *self.current.write().unwrap() = Some((made, visits));
        self.statements.fetch_add(world.statements.get() - before, Ordering::Relaxed);
    }

    fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }
}

/// More tokens than the cache holds, so that each is evicted before its next use
const MANY: usize = 16_384;

/// How old tokens may be when a round begins, of the minute for which they are valid
const FRESH: Duration = Duration::from_secs(30);
