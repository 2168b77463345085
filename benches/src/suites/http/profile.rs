//! Requests one after the other on one thread, for a profiler

use std::hint::black_box;
use std::sync::Arc;

use clap::ValueEnum;
use hyper::StatusCode;
use tokio::runtime::Builder;

use super::client::Caller;
use super::new_visitor;
use super::world::World;
use crate::{Effort, Setting};

/// The request that is profiled
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profiled {
    /// The sign-in of a machine of AWS
    SignIn,
    /// A token for a visitor who is new
    Visit,
    /// The check of a visit whose token is remembered
    Check,
    /// The check of a visit whose token was not seen before
    NewCheck,
    /// The check of a visit, answered by the floor
    Floor,
}

/// Makes a request `count` times, within the function `measured`, after it was made a few times
///
/// Callers, server and store share one thread, so that a profiler sees a request as one sequence.
///
/// # Panics
///
/// If an answer is not the expected one.
pub fn profile(asked: Profiled, count: u64) {
    let runtime = Arc::new(Builder::new_current_thread().enable_all().build().unwrap());
    let mut setting = Setting::new(Effort::Check);
    setting.runtime = Arc::clone(&runtime);
    let world = runtime.block_on(World::new(&setting));
    let callers = Caller::of(if asked == Profiled::Floor { world.plain } else { world.authd }, 1);
    let visits = |count: u64| {
        let count = usize::try_from(count).unwrap();
        let visitor = &Caller::of(world.authd, 1)[0];
        let visits = runtime.block_on(world.visits(visitor, count));
        assert_eq!(visits.len(), count, "tokens are good for a minute only");
        visits
    };
    let repeated = match asked {
        Profiled::SignIn => vec![world.sign_in()],
        Profiled::Visit => Vec::new(),
        Profiled::Check | Profiled::Floor => visits(1),
        Profiled::NewCheck => visits(WARM_UP + count),
    };
    let mut repeated = repeated.iter().cycle();
    let mut ask = async || {
        let (request, status) = match repeated.next() {
            Some(request) => (request.clone(), StatusCode::OK),
            None => (world.issue(new_visitor()), StatusCode::CREATED),
        };
        assert_eq!(callers[0].ask(&request).await.status, status);
    };
    let mut several = |count| {
        runtime.block_on(async {
            for _ in 0..count {
                ask().await;
            }
            world.written().await;
        });
    };
    several(WARM_UP);
    measured(&mut || several(count));
}

/// What a profiler collects: `--toggle-collect='*profile*measured*'`
#[inline(never)]
fn measured(requests: &mut dyn FnMut()) {
    black_box(requests)();
}

/// Requests until connections are open and statements prepared
const WARM_UP: u64 = 20;
