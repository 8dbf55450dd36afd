//! The load of reads and of the balancer: wrk, as many requests as kept connections can carry, and its report read back.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::meter::Meter;
use crate::record::Run;

/// Of most measurements.
pub(crate) const CONNECTIONS: u32 = 64;

/// One measurement of `parts` under load. Anything but 2xx and 3xx, and any socket error, is an error.
pub(crate) async fn measure(
    parts: &Meter,
    address: SocketAddr,
    path: &str,
    connections: u32,
    length: Duration,
) -> Result<Run> {
    let before = parts.read()?;
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "1", "--latency", "--connections", &connections.to_string()]);
    wrk.args(["--duration", &format!("{}s", length.as_secs()), &format!("http://{address}{path}")]);
    let output = wrk.kill_on_drop(true).output().await.context("wrk (package wrk)")?;
    let report = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk: {report}{}", String::from_utf8_lossy(&output.stderr));
    parts.charge(&before, read_report(&report)?)
}

fn read_report(report: &str) -> Result<Run> {
    let trouble = report.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors"));
    ensure!(trouble.is_none(), "the answers were not all good:\n{report}");
    let read = || {
        let line = report.lines().find(|line| line.contains(" requests in "))?;
        let (operations, rest) = line.trim().split_once(" requests in ")?;
        let seconds = rest.split(',').next()?;
        let percentile = |name: &str| {
            let line = report.lines().find_map(|line| line.trim().strip_prefix(name))?;
            milliseconds(line.trim())
        };
        Some(Run {
            operations: operations.parse().ok()?,
            seconds: milliseconds(seconds)? / 1e3,
            p50_ms: percentile("50%")?,
            p99_ms: percentile("99%")?,
            ..Run::default()
        })
    };
    read().with_context(|| format!("wrk said something new:\n{report}"))
}

/// "512.00us", "1.25ms", "4.01s", "1.00m".
fn milliseconds(text: &str) -> Option<f64> {
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let each = match text.strip_prefix(number)? {
        "us" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 6e4,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * each)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "Running 4s test @ http://127.0.0.1:7300/\n  2 threads and 64 connections\n  Thread Stats   Avg      Stdev     Max   +/- Stdev\n    \
        Latency     1.74ms    1.02ms  21.33ms   89.91%\n    Req/Sec    18.77k     1.93k   23.13k    66.25%\n  Latency Distribution\n     \
        50%    1.55ms\n     75%    2.00ms\n     90%  512.00us\n     99%    6.00ms\n  149485 requests in 4.01s, 31.36MB read\nRequests/sec:  37275.34\n";

    #[test]
    fn a_report_is_read() {
        let expected = Run { operations: 149_485, seconds: 4.01, p50_ms: 1.55, p99_ms: 6.0, ..Run::default() };
        assert_eq!(read_report(REPORT).unwrap(), expected);
    }

    #[test]
    fn answers_that_were_not_good_are_an_error() {
        for trouble in ["  Non-2xx or 3xx responses: 3\n", "  Socket errors: connect 0, read 1, write 0, timeout 0\n"] {
            assert!(read_report(&format!("{REPORT}{trouble}")).is_err());
        }
        assert!(read_report("wrk: unable to connect").is_err());
    }
}
