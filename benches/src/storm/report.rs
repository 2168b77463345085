use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::agents::Course;
use super::options::Options;
use super::tally::{Outcome, Outcomes, Quantiles, milliseconds};

/// What a storm did
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The options
    pub options: Options,
    /// What may make the figures wrong
    pub warnings: Vec<String>,
    /// The agents with genuine proofs
    pub honest: HonestReport,
    /// The machines with forged proofs
    pub forged: ForgedReport,
    /// The other attacks
    pub attacks: Vec<AttackReport>,
    /// `GET /healthz` up to five times a second, each on a connection of its own
    pub health: HealthReport,
    /// The database
    pub database: DatabaseReport,
    /// Each process of authd, in the order in which they started
    pub servers: Vec<ServerReport>,
    /// Processor time of authd by honest sign-ins, in milliseconds, if there were any
    ///
    /// The work for forged proofs and attacks is included.
    pub cpu_ms_per_sign_in: Option<f64>,
    /// Processor time of this program during the storm, in seconds
    pub generator_cpu_seconds: f64,
    /// authd's log, if it went to a file
    pub log: Option<LogReport>,
}

/// The agents with genuine proofs
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct HonestReport {
    /// How many there were
    pub agents: usize,
    /// How many had their token at the end
    pub signed_in: usize,
    /// How many had not
    pub not_in: usize,
    /// How many had it at their first try
    pub first_try: usize,
    /// Their percentage
    pub first_try_percent: f64,
    /// When the last one that is in had its token, from the first arrival
    pub last_in_ms: f64,
    /// Sign-ins up to that time
    pub sign_ins_per_second: f64,
    /// Times of all attempts
    pub attempt_ms: Quantiles,
    /// Times of the attempts that were answered with 200
    pub success_ms: Quantiles,
    /// Times from an agent's arrival to its token, with the waits between attempts
    pub sign_in_ms: Quantiles,
    /// How the attempts ended
    pub answers: Outcomes,
    /// Answers with 503 that do not say when to come back
    pub without_retry_after: u64,
    /// How often a connection was refused and the other replica was asked
    pub moved_to_other_replica: u64,
}

/// The machines with forged proofs
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ForgedReport {
    /// How many there were
    pub forgers: usize,
    /// How their attempts ended
    pub answers: Outcomes,
    /// Times of all attempts
    pub attempt_ms: Quantiles,
}

/// One attack
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AttackReport {
    /// What it does
    pub kind: &'static str,
    /// How many connections it tries to keep
    pub connections: usize,
    /// How many were open when the first agent arrived
    pub open_at_start: usize,
    /// How many were open when the last agent was in
    pub open_at_end: usize,
    /// Answers, and how connections ended
    pub answers: Outcomes,
}

/// Answers of `/healthz`
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct HealthReport {
    /// How the requests ended; each waits for two seconds
    pub answers: Outcomes,
    /// The longest time
    pub max_ms: f64,
}

/// The database
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct DatabaseReport {
    /// Transactions of authd, from before its start to after its end, both committed and aborted
    pub transactions: u64,
    /// How many of them were aborted
    pub aborted: u64,
    /// Committed transactions by honest sign-ins
    pub transactions_per_sign_in: f64,
    /// When it was stopped
    pub stopped_at_ms: Option<f64>,
    /// When it served again
    pub back_at_ms: Option<f64>,
    /// The time from then until the last agent was in that had arrived before
    pub last_in_after_ms: Option<f64>,
    /// When sessions were terminated, and how many; 0 if the database was away
    pub terminated: Vec<Terminated>,
}

/// Sessions that were terminated
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Terminated {
    /// When
    pub at_ms: f64,
    /// How many
    pub sessions: usize,
}

/// One process of authd
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ServerReport {
    /// Resident memory after its rest and before the attacks, or when a restarted one was ready
    pub resident_before_mib: f64,
    /// The part of it that is not of a file, such as the program's own
    pub anonymous_before_mib: f64,
    /// The most resident memory
    pub resident_peak_mib: f64,
    /// Resident memory when the last agent was in
    pub resident_after_mib: f64,
    /// The part of it that is not of a file
    pub anonymous_after_mib: f64,
    /// Processor time from the attacks to the end
    pub cpu_seconds: f64,
    /// Whether it was replaced during the storm
    pub restarted: bool,
    /// The time from SIGTERM to its end
    pub stopped_in_ms: f64,
    /// How it ended
    pub ended: String,
}

/// A log in a file
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LogReport {
    /// Its size
    pub bytes: u64,
    /// Lines by level
    pub lines: BTreeMap<&'static str, u64>,
    /// Lines that report a panic
    pub panics: u64,
}

impl HonestReport {
    pub(super) fn of(courses: &[Course], moved: u64) -> Self {
        let agents = courses.len();
        let mut last_in = Duration::ZERO;
        let (mut signed_in, mut first_try, mut without_retry_after) = (0, 0, 0);
        let (mut all, mut successes, mut sign_ins) = (Vec::new(), Vec::new(), Vec::new());
        let mut answers = Outcomes::default();
        for course in courses {
            for attempt in &course.attempts {
                answers.add(attempt.outcome);
                all.push(attempt.took);
                match attempt.outcome {
                    Outcome::Status(200) => successes.push(attempt.took),
                    Outcome::Status(503) if !attempt.retry_after => without_retry_after += 1,
                    _ => {}
                }
            }
            if let Some(time) = course.signed_in {
                signed_in += 1;
                first_try += usize::from(course.attempts.len() == 1);
                last_in = last_in.max(time);
                sign_ins.push(time.saturating_sub(course.arrived));
            }
        }
        let last_in_ms = milliseconds(last_in);
        Self {
            agents,
            signed_in,
            not_in: agents - signed_in,
            first_try,
            first_try_percent: rounded(100.0 * ratio(first_try, agents)),
            last_in_ms,
            sign_ins_per_second: rounded(float(signed_in) / last_in.as_secs_f64().max(1e-3)),
            attempt_ms: Quantiles::of(all),
            success_ms: Quantiles::of(successes),
            sign_in_ms: Quantiles::of(sign_ins),
            answers,
            without_retry_after,
            moved_to_other_replica: moved,
        }
    }
}

impl ForgedReport {
    pub(super) fn of(courses: &[Course]) -> Self {
        let mut answers = Outcomes::default();
        let attempts = courses.iter().flat_map(|course| &course.attempts);
        let times = attempts.inspect(|attempt| answers.add(attempt.outcome));
        let attempt_ms = Quantiles::of(times.map(|attempt| attempt.took).collect());
        Self { forgers: courses.len(), answers, attempt_ms }
    }
}

impl LogReport {
    /// Adds the lines of a log
    pub(super) fn add(&mut self, log: &[u8]) {
        self.bytes += u64::try_from(log.len()).unwrap_or(0);
        for line in log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            // Levels are in front, in the text and in the JSON format.
            let start = String::from_utf8_lossy(line.get(..LEVEL_WITHIN).unwrap_or(line));
            let level = LEVELS.into_iter().find(|level| start.contains(level));
            *self.lines.entry(level.unwrap_or("other")).or_default() += 1;
            self.panics += u64::from(line.windows(8).any(|word| word == b"panicked"));
        }
    }
}

const LEVELS: [&str; 5] = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
/// In bytes from the start of a line
const LEVEL_WITHIN: usize = 96;

impl fmt::Display for Report {
    /// A table for a terminal
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { honest, forged, database, health, .. } = self;
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        let HonestReport { agents, signed_in, first_try, first_try_percent, .. } = honest;
        let mut row = |name: &str, text: &dyn fmt::Display| writeln!(f, "{name:<20} {text}");
        row(
            "agents",
            &format!(
                "{signed_in} of {agents} in, {first_try} ({first_try_percent} %) at the first try"
            ),
        )?;
        row(
            "last in",
            &format!("{} ms, {} sign-ins a second", honest.last_in_ms, honest.sign_ins_per_second),
        )?;
        row("an attempt", &honest.attempt_ms)?;
        row("a successful one", &honest.success_ms)?;
        row("to the token", &honest.sign_in_ms)?;
        row("answers", &honest.answers)?;
        if honest.without_retry_after > 0 {
            row("", &format!("{} × 503 without Retry-After", honest.without_retry_after))?;
        }
        if honest.moved_to_other_replica > 0 {
            row(
                "other replica",
                &format!("{} times, after a refused connection", honest.moved_to_other_replica),
            )?;
        }
        if forged.forgers > 0 {
            row("forged proofs", &format!("{} machines: {}", forged.forgers, forged.answers))?;
        }
        for attack in &self.attacks {
            let AttackReport { connections, open_at_start, open_at_end, answers, .. } = attack;
            let open = format!(
                "{connections} connections, {open_at_start} open at the start, {open_at_end} at the end: {answers}"
            );
            row(attack.kind, &open)?;
        }
        row("health", &format!("{}, at most {} ms", health.answers, health.max_ms))?;
        row(
            "transactions",
            &format!("{}, {} of them aborted", database.transactions, database.aborted),
        )?;
        if let (Some(stopped), Some(back)) = (database.stopped_at_ms, database.back_at_ms) {
            let after = database.last_in_after_ms.unwrap_or(0.0);
            row(
                "database",
                &format!(
                    "stopped at {stopped} ms, back at {back} ms, all that waited in {after} ms later"
                ),
            )?;
        }
        for Terminated { at_ms, sessions } in &database.terminated {
            row("terminated", &format!("{sessions} sessions at {at_ms} ms"))?;
        }
        for server in &self.servers {
            let ServerReport { resident_before_mib, resident_peak_mib, resident_after_mib, .. } =
                server;
            let memory = format!(
                "{resident_before_mib} MiB before, {resident_peak_mib} at most, {resident_after_mib} after"
            );
            let ended = format!("{} after {} ms", server.ended, server.stopped_in_ms);
            row("authd", &format!("{memory}; {} s of CPU; {ended}", server.cpu_seconds))?;
        }
        if let Some(time) = self.cpu_ms_per_sign_in {
            row("CPU per sign-in", &format!("{time} ms of authd"))?;
        }
        row("generator", &format!("{} s of CPU", self.generator_cpu_seconds))?;
        if let Some(log) = &self.log {
            let lines: Vec<_> =
                log.lines.iter().map(|(level, count)| format!("{count} {level}")).collect();
            row("log", &format!("{} bytes; lines: {}", log.bytes, lines.join(", ")))?;
        }
        Ok(())
    }
}

/// The time from `back` until the last agent was in that had arrived before, in milliseconds
///
/// 0 if all of these were in before.
pub(super) fn last_in_after(courses: &[Course], back: f64) -> f64 {
    let waiting = courses.iter().filter(|course| milliseconds(course.arrived) < back);
    let times = waiting.filter_map(|course| course.signed_in).map(milliseconds);
    rounded(times.fold(back, f64::max) - back)
}

/// With two decimals
pub(super) fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// 0 if `of` is 0
pub(super) fn ratio(part: usize, of: usize) -> f64 {
    if of == 0 { 0.0 } else { float(part) / float(of) }
}

fn float(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}
