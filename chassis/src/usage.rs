//! What a process uses, read from `/proc`, and the same of this one as the metrics that Prometheus has standard names for.

use std::fmt::Write;
use std::fs;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

/// A reading of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// User and system time since the process started.
    pub cpu: Duration,
    pub resident_bytes: u64,
    pub peak_resident_bytes: u64,
    pub virtual_bytes: u64,
    pub threads: u64,
    pub open_files: usize,
    /// When it started, counted from the machine's boot, in the kernel's ticks (10 ms).
    pub started_after_boot: Duration,
}

impl Usage {
    /// # Errors
    /// When there is no such process, or `/proc` is not mounted.
    pub fn of(pid: u32) -> io::Result<Usage> {
        Usage::read(&format!("/proc/{pid}"))
    }

    /// Of this process.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn own() -> io::Result<Usage> {
        Usage::read("/proc/self")
    }

    fn read(folder: &str) -> io::Result<Usage> {
        let stat = fs::read_to_string(format!("{folder}/stat"))?;
        let status = fs::read_to_string(format!("{folder}/status"))?;
        let number = |field| status_number(&status, field).ok_or_else(|| io::Error::other(format!("no {field}")));
        let times = times(&stat, rustix::param::clock_ticks_per_second());
        let (cpu, started_after_boot) = times.ok_or_else(|| io::Error::other("no times in stat"))?;
        Ok(Usage {
            cpu,
            resident_bytes: number("VmRSS")? * 1024,
            peak_resident_bytes: number("VmHWM")? * 1024,
            virtual_bytes: number("VmSize")? * 1024,
            threads: number("Threads")?,
            open_files: fs::read_dir(format!("{folder}/fd"))?.count(),
            started_after_boot,
        })
    }
}

/// This process in Prometheus' text form, read now. Empty where there is no `/proc`.
pub(crate) fn render_metrics() -> String {
    let (Ok(usage), Some(booted)) = (Usage::own(), booted_at()) else { return String::new() };
    let limit = getrlimit(Resource::Nofile).current;
    let program = fs::read_to_string("/proc/self/comm").unwrap_or_default();
    let info =
        [("program", program.trim_end()), ("pid", &std::process::id().to_string()), ("incarnation", incarnation())];
    render(&usage, booted, limit, info)
}

fn render(usage: &Usage, booted: Duration, files_limit: Option<u64>, info: [(&str, &str); 3]) -> String {
    let mut text = String::new();
    let mut add = |name: &str, kind: &str, help: &str, value: &str| {
        // Writing to a String cannot fail.
        write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n").unwrap_or_default();
    };
    add(
        "process_cpu_seconds_total",
        "counter",
        "User and system CPU time in seconds.",
        &usage.cpu.as_secs_f64().to_string(),
    );
    add("process_open_fds", "gauge", "Open file descriptors.", &usage.open_files.to_string());
    let limit = files_limit.map_or_else(|| "+Inf".to_owned(), |limit| limit.to_string());
    add("process_max_fds", "gauge", "File descriptors that may be open at once.", &limit);
    add("process_virtual_memory_bytes", "gauge", "Virtual memory in bytes.", &usage.virtual_bytes.to_string());
    add("process_resident_memory_bytes", "gauge", "Resident memory in bytes.", &usage.resident_bytes.to_string());
    let started = (booted + usage.started_after_boot).as_secs_f64().to_string();
    add("process_start_time_seconds", "gauge", "Start of the process, Unix time in seconds.", &started);
    add("process_threads", "gauge", "Threads.", &usage.threads.to_string());
    text.push_str("# HELP longshore_process_info 1; the labels tell one process from another, wherever it runs.\n");
    text.push_str("# TYPE longshore_process_info gauge\n");
    let labels = info.map(|(name, value)| format!("{name}=\"{}\"", value.replace(['"', '\\', '\n'], "_")));
    writeln!(text, "longshore_process_info{{{}}} 1", labels.join(",")).unwrap_or_default();
    text
}

/// Random, new at each start: process ids are all 1 in containers, and two processes may start within one tick.
fn incarnation() -> &'static str {
    static INCARNATION: OnceLock<String> = OnceLock::new();
    INCARNATION.get_or_init(|| format!("{:016x}", rand::random::<u64>()))
}

/// When the machine was booted, Unix time.
fn booted_at() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

/// User and system time together, and the start: fields 14, 15 and 22 of `stat`, counted after the program's name, which may hold spaces and
/// parentheses.
fn times(stat: &str, ticks_per_second: u64) -> Option<(Duration, Duration)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let ticks = |place: usize| fields.get(place)?.parse::<u64>().ok();
    let duration = |ticks: u64| Duration::from_millis(ticks.saturating_mul(1000) / ticks_per_second.max(1));
    Some((duration(ticks(11)? + ticks(12)?), duration(ticks(19)?)))
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
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 700 6 7";
        assert_eq!(times(stat, 100), Some((Duration::from_secs(3), Duration::from_secs(7))));
        assert_eq!(times("7 (cut", 100), None);
        assert_eq!(times("7 (short) S 1 7", 100), None);
    }

    #[test]
    fn own_process_can_be_read() {
        let usage = Usage::own().expect("/proc is mounted");
        assert!(usage.resident_bytes > 0 && usage.peak_resident_bytes >= usage.resident_bytes);
        assert!(usage.virtual_bytes >= usage.resident_bytes);
        assert!(usage.threads >= 1 && usage.open_files >= 3);
        assert!(Usage::of(0).is_err());
    }

    #[test]
    fn metrics_have_prometheus_names_and_this_process_values() {
        let usage = Usage {
            cpu: Duration::from_millis(1_250),
            resident_bytes: 4_096,
            peak_resident_bytes: 4_096,
            virtual_bytes: 8_192,
            threads: 3,
            open_files: 9,
            started_after_boot: Duration::from_millis(10),
        };
        let text = render(
            &usage,
            Duration::from_secs(1_000),
            Some(1_024),
            [("program", "lb"), ("pid", "7"), ("incarnation", "ab")],
        );
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "process_cpu_seconds_total 1.25",
            "process_open_fds 9",
            "process_max_fds 1024",
            "process_virtual_memory_bytes 8192",
            "process_resident_memory_bytes 4096",
            "process_start_time_seconds 1000.01",
            "process_threads 3",
            "longshore_process_info{program=\"lb\",pid=\"7\",incarnation=\"ab\"} 1",
        ];
        assert_eq!(samples, expected);
        assert!(text.contains("# TYPE process_cpu_seconds_total counter\n"));
    }

    #[test]
    fn the_start_lies_before_now_and_one_process_has_one_incarnation() {
        let started = booted_at().expect("a boot time") + Usage::own().expect("/proc").started_after_boot;
        let now = Duration::from_millis(crate::clock::wall_ms().unsigned_abs());
        assert!(started <= now + Duration::from_secs(2) && now < started + Duration::from_secs(86_400));
        let line = |text: String| text.lines().last().map(str::to_owned);
        assert_eq!(line(render_metrics()), line(render_metrics()));
    }
}
