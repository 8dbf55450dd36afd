//! What a process uses, read from `/proc`: CPU time, memory, threads and open files.

use std::collections::BTreeMap;
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

/// User and system time of a process and of all its living descendants: of a program that works in several processes.
pub fn cpu_of_tree(root: u32) -> Result<Duration> {
    let mut children: BTreeMap<u32, Vec<(u32, Duration)>> = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended since it was listed.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if let (Some(parent), Some(cpu)) = (parent(&stat), cpu_time(&stat, rustix::param::clock_ticks_per_second())) {
            children.entry(parent).or_default().push((pid, cpu));
        }
    }
    let mut total = Usage::of(root)?.cpu;
    let mut waiting = vec![root];
    while let Some(pid) = waiting.pop() {
        for (child, cpu) in children.remove(&pid).unwrap_or_default() {
            total += cpu;
            waiting.push(child);
        }
    }
    Ok(total)
}

/// User and system time of this process and of the children that have ended and been waited for.
pub fn cpu_of_self_and_ended_children() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    let own = cpu_time(&stat, ticks_per_second).context("no times in stat")?;
    Ok(own + times_from(&stat, FIRST_TIME + 2, ticks_per_second).context("no children's times in stat")?)
}

/// Where the times begin: field 14 of `stat`, counted from behind the program's name.
const FIRST_TIME: usize = 11;

fn parent(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Fields 14 and 15 of `stat`, counted after the program's name, which may hold spaces and parentheses.
fn cpu_time(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    times_from(stat, FIRST_TIME, ticks_per_second)
}

fn times_from(stat: &str, first: usize, ticks_per_second: u64) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(first).map(str::parse::<u64>);
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
        assert_eq!(times_from(stat, FIRST_TIME + 2, 100), Some(Duration::ZERO));
        assert_eq!(parent(stat), Some(1));
        assert_eq!(cpu_time("7 (cut", 100), None);
    }

    #[test]
    fn descendants_count_with_their_ancestor() {
        let mut shell = std::process::Command::new("sh");
        // The subshell works for as long as it takes, says so by ending its output, and stays.
        shell.args(["-c", "(n=0; while [ $n -lt 200000 ]; do n=$((n + 1)); done; echo done; exec cat) & wait"]);
        let mut shell = shell.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.take().unwrap()), &mut line).unwrap();
        let (own, tree) = (Usage::of(shell.id()).unwrap().cpu, cpu_of_tree(shell.id()).unwrap());
        drop(shell.stdin.take());
        shell.kill().unwrap();
        shell.wait().unwrap();
        assert!(tree >= own + Duration::from_millis(50), "{tree:?} of the tree, {own:?} of the shell");
    }

    #[test]
    fn own_process_can_be_read() {
        let usage = Usage::of(std::process::id()).expect("/proc is mounted");
        assert!(usage.resident_bytes > 0 && usage.peak_resident_bytes >= usage.resident_bytes);
        assert!(usage.threads >= 1 && usage.open_files >= 3);
    }
}
