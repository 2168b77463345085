use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::http1::{connect, exchange};
use super::tally::Outcome;
use super::{StormError, random::Random};

/// A machine with a proof
#[derive(Clone, Debug)]
pub(super) struct Agent {
    /// The address it connects from
    pub(super) from: Ipv4Addr,
    /// Its request, whole
    pub(super) request: Bytes,
    /// When it arrives, from the beginning of the storm
    pub(super) arrival: Duration,
    /// The session token that is its own; `None` if its proof is forged
    pub(super) token: Option<String>,
}

/// What happened to an agent
#[derive(Debug)]
pub(super) struct Course {
    pub(super) attempts: Vec<Attempt>,
    /// When it arrived and when it had its token, from the beginning of the storm
    pub(super) arrived: Duration,
    pub(super) signed_in: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
    pub(super) retry_after: bool,
}

/// When agents try again and when they give up
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    pub(super) retry: Duration,
    pub(super) attempt: Duration,
    pub(super) deadline: Duration,
    pub(super) keep_connections: bool,
}

/// The servers, and which of them a load balancer would use
#[derive(Debug, Default)]
pub(super) struct Targets {
    servers: Vec<(SocketAddr, AtomicBool)>,
    /// How often a connection was refused and the other server was asked
    pub(super) moved: AtomicU64,
}

impl Targets {
    pub(super) fn new(servers: impl Iterator<Item = SocketAddr>) -> Self {
        let servers = servers.map(|address| (address, AtomicBool::new(true))).collect();
        Self { servers, moved: AtomicU64::new(0) }
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.servers.iter().map(|(address, _)| *address)
    }

    /// Sets whether a server is ready
    pub(super) fn set(&self, address: SocketAddr, ready: bool) {
        for (_, known) in self.servers.iter().filter(|(server, _)| *server == address) {
            known.store(ready, Ordering::Relaxed);
        }
    }

    /// Connects to a server, the ready ones first
    async fn connect(&self, from: Ipv4Addr, turn: usize) -> Result<TcpStream, Outcome> {
        let count = self.servers.len();
        let in_turn = || (0..count).filter_map(|n| self.servers.get((turn + n) % count));
        let is_ready = |ready: bool| {
            move |server: &&(SocketAddr, AtomicBool)| server.1.load(Ordering::Relaxed) == ready
        };
        let order = in_turn().filter(is_ready(true)).chain(in_turn().filter(is_ready(false)));
        let mut refused = Outcome::Refused;
        for (n, (address, _)) in order.enumerate() {
            if n > 0 {
                self.moved.fetch_add(1, Ordering::Relaxed);
            }
            match connect(from, *address).await {
                Err(outcome @ (Outcome::Refused | Outcome::Reset)) => refused = outcome,
                connected => return connected,
            }
        }
        Err(refused)
    }
}

/// Draws times of arrival within `window`, evenly at random, in order; the first is 0
pub(super) fn arrivals(count: usize, window: Duration, random: &mut Random) -> Vec<Duration> {
    let mut times: Vec<_> = (0..count).map(|_| window.mul_f64(random.fraction())).collect();
    times.sort_unstable();
    if let Some(first) = times.first_mut() {
        *first = Duration::ZERO;
    }
    times
}

/// Lets all agents arrive, and returns when each is in or the deadline has passed, with the
/// connections that are kept
///
/// Ends early once `stop` is true or gone.
pub(super) async fn run(
    agents: Vec<Agent>,
    targets: &Arc<Targets>,
    begin: Instant,
    habits: Habits,
    stop: &watch::Receiver<bool>,
) -> Result<(Vec<Course>, Vec<TcpStream>), StormError> {
    let mut tasks = JoinSet::new();
    for (turn, agent) in agents.into_iter().enumerate() {
        let (targets, stop) = (Arc::clone(targets), stop.clone());
        let visitor = Visitor { agent, turn, habits, begin, stop };
        tasks.spawn(async move { visitor.run(&targets).await });
    }
    let mut courses = Vec::new();
    let mut connections = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        let (course, connection) = ended?;
        courses.push(course);
        connections.extend(connection);
    }
    Ok((courses, connections))
}

struct Visitor {
    agent: Agent,
    /// Its number, by which it selects a server
    turn: usize,
    habits: Habits,
    begin: Instant,
    stop: watch::Receiver<bool>,
}

impl Visitor {
    /// Asks until it is in, and returns the connection if it is to be kept
    async fn run(&self, targets: &Targets) -> (Course, Option<TcpStream>) {
        let deadline = self.begin + self.habits.deadline;
        let mut next = self.begin + self.agent.arrival;
        let arrived = self.agent.arrival;
        let mut course = Course { attempts: Vec::new(), arrived, signed_in: None };
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                () = sleep_until(next.min(deadline)) => {}
                _ = stop.wait_for(|stop| *stop) => return (course, None),
            }
            if next >= deadline {
                return (course, None);
            }
            let (attempt, connection) = tokio::select! {
                asked = self.ask(targets, course.attempts.len()) => asked,
                _ = stop.wait_for(|stop| *stop) => return (course, None),
            };
            course.attempts.push(attempt);
            if attempt.outcome == Outcome::Status(200) {
                course.signed_in = Some(self.begin.elapsed());
                return (course, connection);
            }
            next = Instant::now() + self.habits.retry;
        }
    }

    async fn ask(&self, targets: &Targets, attempts: usize) -> (Attempt, Option<TcpStream>) {
        let begun = Instant::now();
        let until = (begun + self.habits.attempt).min(self.begin + self.habits.deadline);
        let asked = async {
            let mut stream = targets.connect(self.agent.from, self.turn + attempts).await?;
            let answer = exchange(&mut stream, &self.agent.request).await?;
            Ok((answer, stream))
        };
        let answered = timeout_at(until, asked).await.unwrap_or(Err(Outcome::TimedOut));
        let took = begun.elapsed();
        match answered {
            Ok((answer, stream)) => {
                let outcome = match &self.agent.token {
                    Some(token) if answer.status == 200 && !contains(&answer.body, token) => {
                        Outcome::WrongToken
                    }
                    _ => Outcome::Status(answer.status),
                };
                let attempt = Attempt { outcome, took, retry_after: answer.retry_after };
                (attempt, self.habits.keep_connections.then_some(stream))
            }
            Err(outcome) => (Attempt { outcome, took, retry_after: false }, None),
        }
    }
}

fn contains(body: &[u8], token: &str) -> bool {
    body.windows(token.len()).any(|window| window == token.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_fill_the_window_and_repeat_with_the_seed() {
        let window = Duration::from_secs(3);
        let times = arrivals(1_000, window, &mut Random::new(7));
        assert!(times.is_sorted());
        assert_eq!(times[0], Duration::ZERO);
        assert!(times[999] < window && times[999] > window / 2);
        let early = times.iter().filter(|time| **time < window / 3).count();
        assert!((250..420).contains(&early), "{early}");
        assert_eq!(times, arrivals(1_000, window, &mut Random::new(7)));
        assert_ne!(times, arrivals(1_000, window, &mut Random::new(8)));
    }
}
