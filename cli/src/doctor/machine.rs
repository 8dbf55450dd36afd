//! What the machine allows: open files, and connections that wait to be accepted.

use chassis::finding::Finding;
use chassis::listen::BACKLOG;
use chassis::program::{OWN_FILES, open_files_max};

const FILES: &str = "open files";
const WAITING: &str = "connections";
/// Fewer are too few for a system that does anything.
const FILES_MIN: u64 = 1_024;
const SOMAXCONN: &str = "/proc/sys/net/core/somaxconn";

/// Whether so many connections of clients can be open in one process.
pub(super) fn open_files(connections: usize) -> Finding {
    judge_files(open_files_max(), connections as u64)
}

fn judge_files(limit: Option<u64>, connections: u64) -> Finding {
    let Some(limit) = limit else { return Finding::ok(FILES, "there is no limit") };
    let needed = connections + OWN_FILES;
    let found = format!("a process may open {limit}; the settings allow {connections} connections of clients at once");
    let advice = format!(
        "raise the hard limit to {}: `ulimit -Hn`, LimitNOFILE= of a systemd unit, `ulimits` of Compose; or lower LONGSHORE_CONNECTIONS_MAX",
        needed.max(FILES_MIN)
    );
    match limit {
        _ if limit < FILES_MIN => Finding::fault(FILES, found, advice),
        _ if limit < needed => Finding::warning(FILES, format!("{found}, so fewer are served"), advice),
        _ => Finding::ok(FILES, found),
    }
}

/// Whether the system lets as many connections wait as the programs ask for.
pub(super) fn backlog() -> Finding {
    let said = std::fs::read_to_string(SOMAXCONN).ok();
    match said.as_deref().map(str::trim).map(str::parse) {
        Some(Ok(limit)) => judge_backlog(limit),
        _ => Finding::warning(WAITING, format!("{SOMAXCONN} says nothing"), "is /proc there?"),
    }
}

fn judge_backlog(limit: u32) -> Finding {
    let found = format!(
        "{limit} may wait to be accepted (net.core.somaxconn); a burst of {BACKLOG} is what the programs ask for"
    );
    if limit >= BACKLOG {
        return Finding::ok(WAITING, found);
    }
    Finding::warning(WAITING, found, format!("sysctl -w net.core.somaxconn={BACKLOG}"))
}

#[cfg(test)]
mod tests {
    use chassis::finding::Level;

    use super::*;

    #[test]
    fn too_few_files_are_a_warning_and_very_few_a_fault() {
        let check = |limit, connections, expected| {
            let found = judge_files(limit, connections);
            assert_eq!(found.level, expected, "{found:?}");
        };
        check(None, 1_000_000, Level::Ok);
        check(Some(65_536), 50_000, Level::Ok);
        check(Some(4_096), 50_000, Level::Warning);
        check(Some(4_096), 4_000, Level::Warning);
        check(Some(256), 0, Level::Fault);
    }

    #[test]
    fn bursts_must_fit() {
        assert_eq!((judge_backlog(4_096).level, judge_backlog(128).level), (Level::Ok, Level::Warning));
    }
}
