use std::net::Ipv4Addr;

use proptest::prelude::*;
use tokio::task::{JoinHandle, yield_now};

use super::*;

fn source(n: u32) -> Source {
    Source::of(Ipv4Addr::from(n).into())
}

fn turns(places: usize) -> Turns {
    let longest_wait = Duration::from_secs(5);
    Turns::new(TurnSettings { places, longest_wait, waiting_bytes: 1024 * 1024 })
}

/// Asks for a place in a task of its own, and lets it run
async fn ask(turns: &Turns, n: u32) -> JoinHandle<Result<Turn, Busy>> {
    let turns = turns.clone();
    let asked = tokio::spawn(async move { turns.take(source(n), 0).await });
    yield_now().await;
    asked
}

async fn taken(turns: &Turns, n: u32) -> Turn {
    let asked = ask(turns, n).await;
    assert!(asked.is_finished(), "{turns:?}");
    asked.await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn few_sources_leave_a_place_for_others() {
    let settings = TurnSettings { waiting_bytes: 1 << 30, ..turns(64).0.settings };
    let turns = Turns::new(settings);
    let mut held = Vec::new();
    let mut waiting = Vec::new();
    for n in 0..5 {
        held.push(taken(&turns, n).await);
        for _ in 0..64 {
            let asked = ask(&turns, n).await;
            match asked.is_finished() {
                true => held.push(asked.await.unwrap().unwrap()),
                false => waiting.push(asked),
            }
        }
        let own = held.iter().filter(|turn| turn.source == source(n)).count();
        assert!(own <= 32, "{own}");
    }
    assert_eq!(turns.taken() + turns.waiting(), 5 * 65);
    drop(taken(&turns, 9).await);
}

#[tokio::test(start_paused = true)]
async fn those_who_have_least_are_next() {
    let turns = turns(4);
    let [first, second] = [taken(&turns, 1).await, taken(&turns, 1).await];
    let third = taken(&turns, 2).await;
    let mut order = Vec::new();
    for n in [1, 1, 2, 3, 4] {
        order.push((n, ask(&turns, n).await));
    }
    // The fourth place went to source 3, which had none.
    let finished = |order: &[(u32, JoinHandle<_>)]| {
        let done = order.iter().filter(|(_, asked)| asked.is_finished());
        done.map(|(n, _)| *n).collect::<Vec<_>>()
    };
    assert_eq!(finished(&order), [3]);
    drop(first);
    yield_now().await;
    assert_eq!(finished(&order), [3, 4]);
    drop(third);
    yield_now().await;
    assert_eq!(finished(&order), [2, 3, 4]);
    drop(second);
    yield_now().await;
    assert_eq!(finished(&order), [1, 2, 3, 4]);
    drop(order);
    yield_now().await;
}

#[tokio::test(start_paused = true)]
async fn sources_take_turns() {
    let turns = turns(1);
    let mut held = Some(taken(&turns, 9).await);
    let (served, mut order) = tokio::sync::mpsc::unbounded_channel();
    for n in [1, 1, 1, 1, 2, 2, 3] {
        let (turns, served) = (turns.clone(), served.clone());
        tokio::spawn(async move { served.send((n, turns.take(source(n), 0).await)) });
        yield_now().await;
    }
    let mut seen = Vec::new();
    for _ in 0..7 {
        held.take();
        let (n, turn) = order.recv().await.unwrap();
        seen.push(n);
        held = Some(turn.unwrap());
    }
    assert_eq!(seen, [1, 2, 3, 1, 2, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_refused() {
    let turns = turns(1);
    let held = taken(&turns, 1).await;
    let start = Instant::now();
    let busy = turns.take(source(2), 0).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    assert!(busy.retry_after >= Duration::from_secs(5));
    drop(held);
    assert_eq!((turns.taken(), turns.waiting()), (0, 0));
    drop(taken(&turns, 2).await);
}

#[tokio::test(start_paused = true)]
async fn who_would_wait_too_long_is_refused_at_once() {
    let turns = turns(1);
    let mut held = taken(&turns, 1).await;
    let mut waiting = VecDeque::new();
    for _ in 0..4 {
        waiting.push_back(ask(&turns, 1).await);
    }
    // A place becomes free every two seconds.
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        drop(held);
        held = waiting.pop_front().unwrap().await.unwrap().unwrap();
    }
    let start = Instant::now();
    let busy = turns.take(source(1), 0).await.unwrap_err();
    assert_eq!((start.elapsed(), busy.retry_after), (Duration::ZERO, Duration::from_secs(6)));
    // Another source has its turn after the first of those that wait.
    let other = ask(&turns, 2).await;
    assert!(!other.is_finished());
    drop(held);
    drop(waiting.pop_front().unwrap().await.unwrap());
    drop(other.await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_for_each_source() {
    let turns = turns(1);
    let held = taken(&turns, 1).await;
    let refused = async |n, bytes| {
        let asked = turns.clone();
        let asked = tokio::spawn(async move { asked.take(source(n), bytes).await });
        yield_now().await;
        asked.is_finished().then_some(asked)
    };
    assert!(refused(1, 2 * 1024 * 1024).await.is_some());
    let mut accepted = 0;
    while refused(1, 64 * 1024).await.is_none() {
        accepted += 1;
    }
    assert_eq!(accepted, 8, "half of a mebibyte, less what each holds besides");
    assert!(refused(2, 64 * 1024).await.is_none(), "another source has room");
    drop(held);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Requests come, are answered and are given up in any order: nothing is lost or kept
    #[test]
    fn every_place_comes_back(
        places in 1_usize..6,
        steps in proptest::collection::vec((0_u32..4, 0_u8..4), 1..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let turns = turns(places);
            let mut asked = VecDeque::new();
            for (n, step) in steps {
                match step {
                    0 | 1 => asked.push_back(ask(&turns, n).await),
                    2 => drop(asked.pop_back().map(|asked| asked.abort())),
                    _ => drop(asked.pop_front()),
                }
                asked.retain(|asked| !asked.is_finished() || n != 3);
                yield_now().await;
                let (taken, waiting) = (turns.taken(), turns.waiting());
                assert!(taken <= places);
                assert!(waiting == 0 || taken > 0, "a request waits although all places are free");
            }
            drop(asked);
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!((turns.taken(), turns.waiting()), (0, 0));
            let state = turns.state();
            assert!(state.sources.is_empty() && state.queue.is_empty());
            assert_eq!(state.waiting_bytes, 0);
        });
    }
}
