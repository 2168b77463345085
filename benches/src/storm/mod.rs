//! A fleet that signs in at once, beside clients that want to prevent it
//!
//! [`run`] starts a private PostgreSQL server and the real binary, mints proofs of three clouds,
//! and lets the agents of a fleet arrive at their times, however late authd answers. An agent that
//! gets anything but 200 comes again after ten seconds, as the reference's agent does. Everything
//! is on this machine; each agent has an address in 127.0.0.0/8.

mod agents;
mod attacks;
mod database;
mod error;
mod events;
mod http1;
mod mint;
mod options;
mod process;
mod random;
mod report;
mod server;
mod servers;
mod setup;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

pub use self::error::StormError;
pub use self::options::{CloudName, LogTo, Options, Streams};
pub use self::report::{
    AttackReport, DatabaseReport, ForgedReport, HealthReport, HonestReport, LogReport, Report,
    ServerReport, Terminated,
};
pub use self::tally::{Outcome, Outcomes, Quantiles};

use self::agents::{Habits, Targets};
use self::attacks::Attacks;
use self::events::Events;
use self::process::Usage;
use self::report::{last_in_after, ratio, rounded};
use self::setup::Setup;

/// How long it may take to start a task for each agent, before the first one arrives
const PREPARATION: Duration = Duration::from_millis(200);

/// Runs one storm
///
/// # Errors
///
/// Fails if the storm cannot be set up, or if PostgreSQL or authd does not start again. Agents that
/// are not in are no failure: the report counts them.
pub async fn run(options: &Options) -> Result<Report, StormError> {
    options.check()?;
    let Setup { database, mut servers, fleet, forgers, flood, warnings, folder } =
        Setup::new(options).await?;
    servers.rest(Duration::from_secs(options.rest_seconds)).await;
    let before = database.transactions().await?;
    let addresses = servers.addresses();
    let targets = Arc::new(Targets::new(addresses.iter().copied()));

    let attacks = Attacks::start(options, &addresses, &flood);
    if options.attackers() > 0 {
        sleep(Duration::from_millis(options.attack_lead_ms)).await;
        attacks.connect().await;
    }
    let open_at_start = attacks.open();
    let generator = Usage::of("self").processor;
    let begin = Instant::now() + PREPARATION;
    let habits = Habits {
        retry: options.retry(),
        attempt: options.attempt(),
        deadline: options.deadline(),
        keep_connections: options.keep_connections,
    };
    let events = Events::start(options, &database, servers, &targets, begin);
    let (all_in, is_over) = watch::channel(false);
    let (_running, never) = watch::channel(false);
    let (honest, forged) = {
        let honest = async {
            let courses = agents::run(fleet, &targets, begin, habits, &never).await;
            let _ = all_in.send(true);
            courses
        };
        tokio::join!(honest, agents::run(forgers, &targets, begin, habits, &is_over))
    };
    let ((courses, kept), (forged, _)) = (honest?, forged?);
    let generator = Usage::of("self").processor - generator;
    let attack_reports = attacks.report(&open_at_start);
    sleep(Duration::from_secs(options.linger_seconds)).await;
    let events = events.end().await?;
    drop((attacks, kept));

    let moved = targets.moved.load(std::sync::atomic::Ordering::Relaxed);
    let honest = HonestReport::of(&courses, moved);
    let (servers, log) = events.servers.end(options.log).await?;
    let after = database.transactions().await?;
    drop(folder);
    let processor: f64 = servers.iter().map(|server| server.cpu_seconds).sum();
    let signed_in = honest.signed_in;
    let committed = after.0.saturating_sub(before.0);
    let aborted = after.1.saturating_sub(before.1);
    let mut database = events.database;
    database.transactions = committed + aborted;
    database.aborted = aborted;
    database.transactions_per_sign_in =
        rounded(ratio(usize::try_from(committed).unwrap_or(usize::MAX), signed_in));
    database.last_in_after_ms = database.back_at_ms.map(|back| last_in_after(&courses, back));
    Ok(Report {
        options: options.clone(),
        warnings,
        cpu_ms_per_sign_in: (signed_in > 0).then(|| rounded(1e3 * processor / ratio(signed_in, 1))),
        generator_cpu_seconds: rounded(generator),
        forged: ForgedReport::of(&forged),
        attacks: attack_reports,
        health: events.health,
        honest,
        database,
        servers,
        log,
    })
}
