use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep_until, timeout};

use super::StormError;
use super::agents::Targets;
use super::database::Database;
use super::options::Options;
use super::report::{DatabaseReport, HealthReport, Terminated};
use super::server::get;
use super::servers::Servers;
use super::tally::{Outcome, milliseconds};

/// What happens while the agents arrive
pub(super) struct Events {
    stop: watch::Sender<bool>,
    servers: JoinHandle<Result<Servers, StormError>>,
    restart: JoinHandle<Result<Option<(f64, f64)>, StormError>>,
    terminations: JoinHandle<Vec<Terminated>>,
    health: JoinHandle<HealthReport>,
    readiness: JoinHandle<()>,
}

/// What happened
pub(super) struct Happened {
    pub(super) servers: Servers,
    pub(super) database: DatabaseReport,
    pub(super) health: HealthReport,
}

/// The beginning and the end of a storm
#[derive(Clone)]
struct Clock {
    begin: Instant,
    stop: watch::Receiver<bool>,
}

impl Clock {
    /// Waits until a time after the beginning; false if the storm ends before
    async fn reaches(&mut self, time: Duration) -> bool {
        tokio::select! {
            () = sleep_until(self.begin + time) => true,
            _ = self.stop.wait_for(|stop| *stop) => false,
        }
    }

    fn now(&self) -> f64 {
        milliseconds(self.begin.elapsed())
    }
}

impl Events {
    pub(super) fn start(
        options: &Options,
        database: &Database,
        servers: Servers,
        targets: &Arc<Targets>,
        begin: Instant,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let clock = Clock { begin, stop: stopped };
        let addresses = servers.addresses();
        let rolling_at = options.rolling_restart.then(|| options.window() / 4);
        let restart_at = options.restart_database_at_ms.map(Duration::from_millis);
        let mut terminate_at = options.terminate_backends_at_ms.clone();
        terminate_at.sort_unstable();
        let balanced = if addresses.len() > 1 { Arc::clone(targets) } else { Arc::default() };
        Self {
            stop,
            servers: tokio::spawn(roll(servers, rolling_at, clock.clone())),
            restart: tokio::spawn(restart(database.clone(), restart_at, clock.clone())),
            terminations: tokio::spawn(terminate(database.clone(), terminate_at, clock.clone())),
            health: tokio::spawn(watch_health(addresses, clock.clone())),
            readiness: tokio::spawn(watch_readiness(balanced, clock)),
        }
    }

    /// Skips what has not begun, waits for what has, and takes the measure of the servers
    pub(super) async fn end(self) -> Result<Happened, StormError> {
        let _ = self.stop.send(true);
        let mut servers = self.servers.await??;
        servers.measure();
        let restart = self.restart.await??;
        let database = DatabaseReport {
            stopped_at_ms: restart.map(|(stopped, _)| stopped),
            back_at_ms: restart.map(|(_, back)| back),
            terminated: self.terminations.await?,
            ..DatabaseReport::default()
        };
        self.readiness.await?;
        Ok(Happened { servers, database, health: self.health.await? })
    }
}

async fn roll(
    mut servers: Servers,
    at: Option<Duration>,
    mut clock: Clock,
) -> Result<Servers, StormError> {
    if let Some(at) = at
        && clock.reaches(at).await
    {
        servers.roll().await?;
    }
    Ok(servers)
}

/// Returns when the database was stopped and when it was back
async fn restart(
    database: Database,
    at: Option<Duration>,
    mut clock: Clock,
) -> Result<Option<(f64, f64)>, StormError> {
    let Some(at) = at else { return Ok(None) };
    if !clock.reaches(at).await {
        return Ok(None);
    }
    let stopped = clock.now();
    database.stop().await?;
    database.resume().await?;
    Ok(Some((stopped, clock.now())))
}

/// If the database is away at a time, it has no sessions then
async fn terminate(database: Database, times: Vec<u64>, mut clock: Clock) -> Vec<Terminated> {
    let mut terminated = Vec::new();
    for time in times {
        if !clock.reaches(Duration::from_millis(time)).await {
            break;
        }
        let sessions = database.terminate().await.unwrap_or(0);
        terminated.push(Terminated { at_ms: clock.now(), sessions });
    }
    terminated
}

/// Asks each server for `/healthz`, one request at a time, until the storm ends
async fn watch_health(addresses: Vec<SocketAddr>, mut clock: Clock) -> HealthReport {
    let mut report = HealthReport::default();
    let mut ticks = interval(HEALTH);
    loop {
        for address in &addresses {
            let begun = Instant::now();
            let answer = tokio::select! {
                answer = timeout(HEALTH_WITHIN, get(*address, "/healthz")) => answer,
                _ = clock.stop.wait_for(|stop| *stop) => return report,
            };
            report.answers.add(match answer {
                Ok(answer) => answer.map_or_else(|outcome| outcome, Outcome::Status),
                Err(_) => Outcome::TimedOut,
            });
            report.max_ms = report.max_ms.max(milliseconds(begun.elapsed()));
        }
        tokio::select! {
            _ = ticks.tick() => {}
            _ = clock.stop.wait_for(|stop| *stop) => return report,
        }
    }
}

/// Sets which servers are ready, as a load balancer sees them, until the storm ends
async fn watch_readiness(targets: Arc<Targets>, mut clock: Clock) {
    let mut ticks = interval(READINESS);
    loop {
        for address in targets.addresses() {
            let ready = timeout(READINESS_WITHIN, get(address, "/readyz")).await;
            targets.set(address, matches!(ready, Ok(Ok(200))));
        }
        tokio::select! {
            _ = ticks.tick() => {}
            _ = clock.stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// How often `/healthz` is asked
const HEALTH: Duration = Duration::from_millis(200);
/// How long an answer may take
const HEALTH_WITHIN: Duration = Duration::from_secs(2);
/// How often `/readyz` is asked if there are two servers
const READINESS: Duration = Duration::from_millis(100);
/// How long an answer may take
const READINESS_WITHIN: Duration = Duration::from_secs(1);
