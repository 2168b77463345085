//! What the operating system knows about this process, on Linux

use std::time::Duration;

/// What the operating system says about this process
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// Processor time since the start, in user and in system mode
    pub cpu: Duration,
    /// Open file descriptors
    pub open_files: u64,
    /// File descriptors that may be open at most
    pub max_files: u64,
    /// Threads
    pub threads: u64,
    /// The size of the address space, in bytes
    pub virtual_memory: u64,
    /// Memory in use, in bytes
    pub resident_memory: u64,
    /// When the process started, since the epoch, as the system's clock is now
    pub started: Duration,
}

impl Process {
    /// Reads `/proc`; `None` if it cannot be read, as on systems other than Linux
    ///
    /// Takes some dozen microseconds, and longer with many open files.
    #[must_use]
    pub fn read() -> Option<Self> {
        let read = |path| std::fs::read_to_string(path).ok();
        let open_files = std::fs::read_dir("/proc/self/fd").ok()?.count();
        Texts {
            stat: &read("/proc/self/stat")?,
            status: &read("/proc/self/status")?,
            limits: &read("/proc/self/limits")?,
            of_system: &read("/proc/stat")?,
        }
        // The descriptor that reads the folder is not one of the process's own.
        .parse(u64::try_from(open_files.saturating_sub(1)).ok()?)
    }
}

/// The files of `/proc` that are read: see `proc(5)`
struct Texts<'a> {
    stat: &'a str,
    status: &'a str,
    limits: &'a str,
    of_system: &'a str,
}

impl Texts<'_> {
    fn parse(&self, open_files: u64) -> Option<Process> {
        // The second field is the program's name in brackets, which may contain anything.
        let (_, fields) = self.stat.rsplit_once(')')?;
        let field = |number: usize| fields.split_ascii_whitespace().nth(number - 3)?.parse().ok();
        let ticks = |count: u64| Some(Duration::from_millis(count.checked_mul(MILLIS_PER_TICK)?));
        let kilobytes = |name| self.of_status(name)?.checked_mul(1024);
        Some(Process {
            cpu: ticks(field(14)?)? + ticks(field(15)?)?,
            open_files,
            max_files: self.max_files()?,
            threads: self.of_status("Threads:")?,
            virtual_memory: kilobytes("VmSize:")?,
            resident_memory: kilobytes("VmRSS:")?,
            started: Duration::from_secs(self.booted()?) + ticks(field(22)?)?,
        })
    }

    /// The number of a line of `status`
    fn of_status(&self, name: &str) -> Option<u64> {
        number(self.status.lines().find_map(|line| line.strip_prefix(name))?)
    }

    /// The soft limit
    fn max_files(&self) -> Option<u64> {
        let limit = self.limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        match limit.split_ascii_whitespace().next()? {
            "unlimited" => Some(u64::MAX),
            limit => limit.parse().ok(),
        }
    }

    /// When the system started, in seconds since the epoch
    fn booted(&self) -> Option<u64> {
        number(self.of_system.lines().find_map(|line| line.strip_prefix("btime "))?)
    }
}

fn number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// Linux has 100 ticks a second in what it shows to programs, on all common architectures
const MILLIS_PER_TICK: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: Texts<'_> = Texts {
        stat: "4711 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 7 0 98765 111 222",
        status: "Name:\ta (b) c\nVmPeak:\t  30 kB\nVmSize:\t  20 kB\nVmRSS:\t   10 kB\nThreads:\t7\n",
        limits: "Limit                     Soft Limit           Hard Limit           Units\n\
                 Max open files            1024                 524288               files\n",
        of_system: "cpu  1 2 3\nbtime 1700000000\nprocesses 5\n",
    };

    #[test]
    fn the_files_of_proc_are_read() {
        let expected = Process {
            cpu: Duration::from_millis(1_750),
            open_files: 12,
            max_files: 1_024,
            threads: 7,
            virtual_memory: 20 * 1024,
            resident_memory: 10 * 1024,
            started: Duration::from_millis(1_700_000_987_650),
        };
        assert_eq!(TEXTS.parse(12), Some(expected));
        let unlimited = "Max open files            unlimited            unlimited            files";
        let process = Texts { limits: unlimited, ..TEXTS }.parse(12);
        assert_eq!(process, Some(Process { max_files: u64::MAX, ..expected }));
    }

    #[test]
    fn a_file_that_lacks_a_value_gives_nothing() {
        for texts in [
            Texts { stat: "4711 (a) S 1 2", ..TEXTS },
            Texts { stat: "", ..TEXTS },
            Texts { status: "VmSize:\t  20 kB\nThreads:\t7\n", ..TEXTS },
            Texts { status: "VmSize:\t20 kB\nVmRSS:\tx kB\nThreads:\t7\n", ..TEXTS },
            Texts { limits: "", ..TEXTS },
            Texts { of_system: "cpu 1", ..TEXTS },
        ] {
            assert_eq!(texts.parse(1), None);
        }
    }

    #[test]
    fn this_process_is_read() {
        let process = Process::read().unwrap();
        assert!(process.resident_memory > 0 && process.resident_memory < process.virtual_memory);
        assert!(process.threads > 0 && process.open_files > 0);
        let age = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() - process.started;
        assert!(age < Duration::from_secs(3600), "{age:?}");
    }
}
