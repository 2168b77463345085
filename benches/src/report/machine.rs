use std::fmt;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// Where and when a report was made
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Machine {
    /// The day, in UTC
    pub date: String,
    /// The processor's name
    pub processor: String,
    /// How many cores this program may use
    pub cores: usize,
    /// In units of 2^30 bytes
    pub memory_gib: f64,
    /// The kernel
    pub kernel: String,
    /// The PostgreSQL server
    pub postgres: String,
    /// Processes that were running or waiting to run, as an average of the minute before
    pub load_before: f64,
    /// The same at the end, this program included
    pub load_after: f64,
}

impl Machine {
    /// This machine, now; unknown where the system does not say
    #[must_use]
    pub fn here() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the day of the report")]
        let now = chrono::Utc::now();
        let memory = value("/proc/meminfo", "MemTotal:");
        let kibibytes = memory.trim_end_matches("kB").trim().parse().unwrap_or(0.0);
        Self {
            date: now.format("%Y-%m-%d").to_string(),
            processor: value("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: f64::round(kibibytes / 1_048_576.0 * 10.0) / 10.0,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            postgres: postgres(),
            load_before: load(),
            load_after: 0.0,
        }
    }

    /// Notes the load at the end
    pub(super) fn ended(&mut self) {
        self.load_after = load();
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The first value of this name
fn value(path: &str, name: &str) -> String {
    let text = read(path);
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map(|line| line.trim_start_matches([':', ' ', '\t']).trim().to_owned()).unwrap_or_default()
}

fn load() -> f64 {
    read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

/// What the server's program calls itself
fn postgres() -> String {
    let find = "ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null | sort -V | tail -n 1";
    let version = format!("p=$({find}); ${{p:-postgres}} --version");
    let output = Command::new("sh").args(["-c", &version]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    text.trim().trim_start_matches("postgres (PostgreSQL) ").to_owned()
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { date, processor, cores, memory_gib, kernel, postgres, .. } = self;
        let (before, after) = (self.load_before, self.load_after);
        write!(
            f,
            "{date}: {cores} cores of {processor}, {memory_gib} GiB of memory, Linux {kernel}, \
             PostgreSQL {postgres}; a load of {before} before, and of {after} at the end"
        )
    }
}
