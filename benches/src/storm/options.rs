use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::StormError;

/// What comes, how fast, and what happens meanwhile
///
/// Times in milliseconds count from the arrival of the first agent.
#[derive(Args, Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Options {
    /// The authd to drive [default: the one beside this program]
    #[arg(long, env = "AUTHD_BINARY", value_name = "FILE")]
    pub authd: Option<PathBuf>,
    /// Folder of `initdb` and `postgres` [default: the newest installed]
    #[arg(long, env = "AUTHD_POSTGRES_BIN", value_name = "DIR")]
    pub postgres_bin: Option<PathBuf>,
    /// Argument for `authd serve`; can be repeated: `--server-arg=--max-connections=10000`
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub server_arg: Vec<String>,
    /// Where authd's log goes
    #[arg(long, value_enum, default_value = "file")]
    pub log: LogTo,
    /// Soft limit of descriptors for authd [default: the one of this program]
    #[arg(long, value_name = "N")]
    pub server_descriptors: Option<u64>,
    /// Seed of the order and the times of arrival
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Machines that sign in, each with a workspace, a connection and an address of its own
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub agents: usize,
    /// Time over which the agents arrive, evenly at random
    #[arg(long, value_name = "MS", default_value_t = 3_000)]
    pub window_ms: u64,
    /// Builds of each workspace; the newest has the agent that signs in
    #[arg(long, value_name = "N", default_value_t = 21)]
    pub builds: u32,
    /// Percentage of the instances whose id all builds of the workspace have
    ///
    /// For each of them, the database has as many candidates as builds. The others have a new id
    /// in each build.
    #[arg(long, value_name = "PERCENT", default_value_t = 50)]
    pub recycled_share: u32,
    /// Clouds of the instances, in equal parts
    #[arg(long, value_enum, value_delimiter = ',', default_value = "aws,azure,google")]
    pub clouds: Vec<CloudName>,
    /// Time after which an agent asks again if the answer is not 200; can be a fraction
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub retry_seconds: f64,
    /// Time after which an agent gives up an attempt
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub attempt_seconds: f64,
    /// Time after which the storm ends even if some agents are not in
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub deadline_seconds: f64,
    /// Keep each agent's connection open after it has signed in, as HTTP clients do
    #[arg(long)]
    pub keep_connections: bool,
    /// Time after authd is ready until its memory is measured and the storm begins
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub rest_seconds: u64,
    /// Time after the last agent is in until authd's memory is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub linger_seconds: u64,

    /// Percentage of all arrivals whose proof is forged; these retry as agents do
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    pub forged_percent: u32,
    /// Connections that send the head of a request, one byte a second
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub slow_heads: usize,
    /// Connections that send nothing
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub silent: usize,
    /// HTTP/2 connections with streams that send one byte of a sign-in's body: `9x128`
    #[arg(long, value_name = "CONNECTIONSxSTREAMS", default_value = "0x128")]
    pub slow_bodies: Streams,
    /// HTTP/1 connections that send one byte of a sign-in's body
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub http1_slow_bodies: usize,
    /// HTTP/2 connections that do nothing but acknowledge pings
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub pings: usize,
    /// HTTP/2 connections with a window of 0 that ask 120 times for `/metrics`
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub closed_windows: usize,
    /// Connections that send forged proofs, the next one as soon as the last is answered
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub flood: usize,
    /// Attacking connections that share an address; 0: all of one kind
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub clients_per_address: usize,
    /// Time after which an attacker comes back if authd ended its connection or stream
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    pub comeback_ms: u64,
    /// Time for which the attacks run before the first agent arrives
    #[arg(long, value_name = "MS", default_value_t = 2_000)]
    pub attack_lead_ms: u64,

    /// Restart PostgreSQL (fast) at this time
    #[arg(long, value_name = "MS")]
    pub restart_database_at_ms: Option<u64>,
    /// Terminate all of authd's database sessions at these times
    #[arg(long, value_name = "MS", value_delimiter = ',')]
    pub terminate_backends_at_ms: Vec<u64>,
    /// Number of authd processes on the database
    ///
    /// With two, the agents are spread as a load balancer does: over those that `/readyz` reports
    /// as ready, and to the other one if a connection is refused.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=2))]
    pub replicas: u16,
    /// Restart the replicas by SIGTERM, one after the other, from a quarter of the window on
    #[arg(long)]
    pub rolling_restart: bool,
}

impl Options {
    /// Fails if the options contradict each other
    pub(crate) fn check(&self) -> Result<(), StormError> {
        let seconds = [self.retry_seconds, self.attempt_seconds, self.deadline_seconds];
        let wrong = [
            (self.agents == 0, "`--agents` must be at least 1"),
            (self.agents > MOST_AGENTS, "`--agents` must be at most 1000000"),
            (self.builds == 0, "`--builds` must be at least 1"),
            (self.recycled_share > 100, "`--recycled-share` must be at most 100"),
            (self.forged_percent > 95, "`--forged-percent` must be at most 95"),
            (
                !seconds.iter().all(|seconds| (0.0..=86_400.0).contains(seconds)),
                "times in seconds must be between 0 and 86400",
            ),
        ];
        match wrong.into_iter().find(|(wrong, _)| *wrong) {
            Some((_, message)) => Err(StormError::Options(message)),
            None => Ok(()),
        }
    }

    pub(crate) fn retry(&self) -> Duration {
        Duration::from_secs_f64(self.retry_seconds)
    }

    pub(crate) fn attempt(&self) -> Duration {
        Duration::from_secs_f64(self.attempt_seconds)
    }

    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_secs_f64(self.deadline_seconds)
    }

    pub(crate) const fn window(&self) -> Duration {
        Duration::from_millis(self.window_ms)
    }

    /// The number of machines with forged proofs
    pub(crate) fn forgers(&self) -> usize {
        let forged = usize::try_from(self.forged_percent).unwrap_or(0);
        self.agents * forged / (100 - forged.min(95))
    }

    /// The number of connections that attackers keep open
    pub(crate) const fn attackers(&self) -> usize {
        self.slow_heads
            + self.silent
            + self.slow_bodies.connections
            + self.http1_slow_bodies
            + self.pings
            + self.closed_windows
            + self.flood
    }
}

/// More would not fit the addresses of the agents
const MOST_AGENTS: usize = 1_000_000;

/// Where the log of authd goes
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogTo {
    /// A pipe that is not read, so that it is soon full
    NeverRead,
    /// `/dev/null`
    Null,
    /// A file, whose lines are counted
    File,
}

/// A cloud whose proofs are minted
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CloudName {
    /// An instance identity document and its RSA-1024 signature
    Aws,
    /// Attested data
    Azure,
    /// An identity token
    Google,
}

/// A number of connections and the number of streams on each
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Streams {
    /// How many connections
    pub connections: usize,
    /// How many streams on each
    pub streams: usize,
}

impl FromStr for Streams {
    type Err = &'static str;

    /// Reads `9x128`, or `9` for nine connections with 128 streams each
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (connections, streams) = text.split_once('x').unwrap_or((text, "128"));
        match (connections.parse(), streams.parse()) {
            (Ok(connections), Ok(streams)) => Ok(Self { connections, streams }),
            _ => Err("expected connections and streams such as `9x128`"),
        }
    }
}
