//! What a process uses, read from `/proc`: CPU time, memory, threads and open files.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// A reading of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// User and system time since the process started.
    pub cpu: Duration,
    pub resident_bytes: u64,
    pub peak_resident_bytes: u64,
    pub threads: u64,
    pub open_files: usize,
}

impl Usage {
    pub fn of(pid: u32) -> Result<Self> {
        let folder = format!("/proc/{pid}");
        let stat = fs::read_to_string(format!("{folder}/stat")).with_context(|| format!("process {pid}"))?;
        let status = fs::read_to_string(format!("{folder}/status"))?;
        Ok(Self {
            cpu: cpu_time(&stat, rustix::param::clock_ticks_per_second()).context("no times in stat")?,
            resident_bytes: status_number(&status, "VmRSS").context("no VmRSS")? * 1024,
            peak_resident_bytes: status_number(&status, "VmHWM").context("no VmHWM")? * 1024,
            threads: status_number(&status, "Threads").context("no Threads")?,
            open_files: fs::read_dir(format!("{folder}/fd"))?.count(),
        })
    }
}

/// Fields 14 and 15 of `stat`, counted after the program's name, which may hold spaces and parentheses.
fn cpu_time(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = times.next()?.ok()? + times.next()?.ok()?;
    Some(Duration::from_millis(ticks * 1000 / ticks_per_second.max(1)))
}

fn status_number(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_a_name_with_parentheses() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 5 6 7";
        assert_eq!(cpu_time(stat, 100), Some(Duration::from_secs(3)));
        assert_eq!(cpu_time("7 (cut", 100), None);
    }

    #[test]
    fn own_process_can_be_read() {
        let usage = Usage::of(std::process::id()).expect("/proc is mounted");
        assert!(usage.resident_bytes > 0 && usage.peak_resident_bytes >= usage.resident_bytes);
        assert!(usage.threads >= 1 && usage.open_files >= 3);
    }
}
