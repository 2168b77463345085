use std::path::Path;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Memory and processor time of a process; zero where the system does not say
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// In MiB
    pub(super) resident: f64,
    /// The part of it that is not of a file, such as the program's own, in MiB
    pub(super) anonymous: f64,
    /// The most so far, in MiB
    pub(super) peak: f64,
    /// In user and system mode, in seconds
    pub(super) processor: f64,
}

impl Usage {
    /// The usage of a process: its id, or `self`
    pub(super) fn of(process: &str) -> Self {
        let folder = Path::new("/proc").join(process);
        let read = |name| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        let (status, stat) = (read("status"), read("stat"));
        Self {
            resident: kibibytes(&status, "VmRSS:") / 1024.0,
            anonymous: kibibytes(&status, "RssAnon:") / 1024.0,
            peak: kibibytes(&status, "VmHWM:") / 1024.0,
            processor: ticks(&stat) / ticks_per_second(),
        }
    }
}

fn kibibytes(status: &str, name: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0.0)
}

/// The fields `utime` and `stime`, see proc_pid_stat(5)
fn ticks(stat: &str) -> f64 {
    // The name of the program, in brackets, can contain spaces.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let fields = fields.split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum()
}

fn ticks_per_second() -> f64 {
    let ticks = rustix::param::clock_ticks_per_second();
    u32::try_from(ticks).map_or(100.0, f64::from)
}

/// Raises the soft limit of descriptors to the hard one, and returns the former soft limit and
/// the present one
///
/// `None` for an unlimited number.
pub(super) fn raise_descriptors() -> (Option<u64>, Option<u64>) {
    static FORMER: OnceLock<Option<u64>> = OnceLock::new();
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let former = *FORMER.get_or_init(|| current);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    (former, if raised.is_ok() { maximum } else { current })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_proc_are_read() {
        let status = "Name:\tauthd\nVmHWM:\t   65536 kB\nVmRSS:\t   32768 kB\n";
        assert_eq!(
            (kibibytes(status, "VmHWM:"), kibibytes(status, "VmRSS:")),
            (65_536.0, 32_768.0)
        );
        assert_eq!(kibibytes("", "VmHWM:"), 0.0);
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 5 0 100 0";
        assert_eq!(ticks(stat), 300.0);
        assert_eq!(ticks(""), 0.0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_uses_memory() {
        let usage = Usage::of("self");
        assert!(usage.resident > 0.0 && usage.peak >= usage.resident, "{usage:?}");
    }
}
