//! Clients that want to starve the agents
//!
//! Each connection comes back after a pause if authd ends it, until the attacks are dropped.

mod http1;
mod http2;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::options::Options;
use super::report::AttackReport;
use super::tally::Tally;

/// All attacks that run
pub(super) struct Attacks {
    tallies: Vec<(Kind, usize, Arc<Tally>)>,
    /// Ended when they are dropped
    _tasks: JoinSet<()>,
}

/// A way to attack
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    SlowHeads,
    Silent,
    SlowBodies { streams: usize },
    Http1SlowBodies,
    Pings,
    ClosedWindows,
    Flood,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::SlowHeads => "slow heads",
            Self::Silent => "silent",
            Self::SlowBodies { .. } => "HTTP/2 slow bodies",
            Self::Http1SlowBodies => "HTTP/1 slow bodies",
            Self::Pings => "pings",
            Self::ClosedWindows => "closed windows",
            Self::Flood => "flood",
        }
    }
}

/// One connection of an attack
#[derive(Clone)]
struct Attacker {
    from: Ipv4Addr,
    to: SocketAddr,
    tally: Arc<Tally>,
    /// How long it waits before it comes back
    comeback: Duration,
    /// A forged sign-in, whole
    forgery: Bytes,
}

impl Attacks {
    /// Starts what the options ask for, spread over the servers
    pub(super) fn start(options: &Options, servers: &[SocketAddr], forgery: &Bytes) -> Self {
        let streams = options.slow_bodies.streams;
        let asked = [
            (Kind::SlowHeads, options.slow_heads),
            (Kind::Silent, options.silent),
            (Kind::SlowBodies { streams }, options.slow_bodies.connections),
            (Kind::Http1SlowBodies, options.http1_slow_bodies),
            (Kind::Pings, options.pings),
            (Kind::ClosedWindows, options.closed_windows),
            (Kind::Flood, options.flood),
        ];
        let (mut tallies, mut tasks) = (Vec::new(), JoinSet::new());
        for ((kind, count), network) in asked.into_iter().zip(FIRST_NETWORK..) {
            if count == 0 {
                continue;
            }
            let tally = Arc::<Tally>::default();
            for (n, to) in (0..count).zip(servers.iter().cycle()) {
                let attacker = Attacker {
                    from: source(network, n.checked_div(options.clients_per_address).unwrap_or(0)),
                    to: *to,
                    tally: Arc::clone(&tally),
                    comeback: Duration::from_millis(options.comeback_ms),
                    forgery: forgery.clone(),
                };
                tasks.spawn(attacker.run(kind));
            }
            tallies.push((kind, count, tally));
        }
        Self { tallies, _tasks: tasks }
    }

    /// Waits until each attack has its connections, at most ten seconds
    pub(super) async fn connect(&self) {
        for _ in 0..200 {
            if self.tallies.iter().all(|(_, count, tally)| tally.open() >= *count) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The number of open connections of each kind
    pub(super) fn open(&self) -> Vec<usize> {
        self.tallies.iter().map(|(_, _, tally)| tally.open()).collect()
    }

    /// What became of the attacks so far, given [`open`](Self::open) at an earlier time
    pub(super) fn report(&self, open_at_start: &[usize]) -> Vec<AttackReport> {
        let at_start = open_at_start.iter().copied();
        let attacks = self.tallies.iter().zip(at_start);
        let reports = attacks.map(|((kind, count, tally), open_at_start)| AttackReport {
            kind: kind.name(),
            connections: *count,
            open_at_start,
            open_at_end: tally.open(),
            answers: tally.outcomes(),
        });
        reports.collect()
    }
}

impl Attacker {
    async fn run(self, kind: Kind) {
        loop {
            let outcome = match kind {
                Kind::SlowHeads => http1::slow_head(&self).await,
                Kind::Silent => http1::silent(&self).await,
                Kind::Http1SlowBodies => http1::slow_body(&self).await,
                Kind::Flood => http1::flood(&self).await,
                Kind::SlowBodies { streams } => http2::slow_bodies(&self, streams).await,
                Kind::Pings => http2::pings(&self).await,
                Kind::ClosedWindows => http2::closed_window(&self).await,
            };
            self.tally.add(outcome);
            sleep(self.comeback).await;
        }
    }
}

/// An address of this machine that no agent has
pub(super) fn source(network: u8, number: usize) -> Ipv4Addr {
    let [.., b, c, d] = number.to_be_bytes();
    Ipv4Addr::new(127, network.saturating_add(b), c, d)
}

/// The second byte of the addresses of the first attack
const FIRST_NETWORK: u8 = 200;
