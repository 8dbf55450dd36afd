//! The names of all variables of all programs, in one place, so that a typo is told from another program's setting.

/// Every `LONGSHORE_…` variable that some program reads. A new key of a `default.toml` is added here
/// (`testing::check_defaults` fails until it is).
pub const KNOWN: &[&str] = &[
    // all programs
    "LONGSHORE_LISTEN",
    "LONGSHORE_INSECURE",
    "LONGSHORE_AUTH",
    "LONGSHORE_INTERNAL_KEY_FILE",
    "LONGSHORE_LOG",
    "LONGSHORE_LOG_FORMAT",
    "LONGSHORE_DRAIN_MS",
    "LONGSHORE_THREADS",
    "LONGSHORE_OTLP_ENDPOINT",
    "LONGSHORE_TRACE_SAMPLE",
    #[cfg(feature = "fault-points")]
    "LONGSHORE_FAULT_POINT",
    // several
    "LONGSHORE_STORE_URL",
    "LONGSHORE_CACHE_URL",
    "LONGSHORE_QUEUES",
    // lb
    "LONGSHORE_BACKENDS",
    "LONGSHORE_BACKENDS_FILE",
    "LONGSHORE_ADMIN_LISTEN",
    "LONGSHORE_TLS_LISTEN",
    "LONGSHORE_TLS_CERTIFICATE_FILE",
    "LONGSHORE_TLS_KEY_FILE",
    "LONGSHORE_EVENT_LOOPS",
    "LONGSHORE_ACCESS_LOG",
    "LONGSHORE_TRACE_TRUST",
    "LONGSHORE_CLIENT_CONNECTIONS_MAX",
    "LONGSHORE_CLIENT_CONNECTIONS_PER_ADDRESS_MAX",
    "LONGSHORE_CLIENT_HEAD_MS",
    "LONGSHORE_CLIENT_STALL_MS",
    "LONGSHORE_CLIENT_BYTES_PER_S_MIN",
    "LONGSHORE_CLIENT_IDLE_MS",
    "LONGSHORE_TUNNEL_IDLE_MS",
    "LONGSHORE_RATE_LIMIT_PER_S",
    "LONGSHORE_RATE_LIMIT_BURST",
    "LONGSHORE_RATE_LIMIT_KEY",
    "LONGSHORE_PICK",
    "LONGSHORE_BACKEND_CONNECT_MS",
    "LONGSHORE_BACKEND_ANSWER_MS",
    "LONGSHORE_BACKEND_IDLE_MS",
    "LONGSHORE_BACKEND_IDLE_MAX",
    "LONGSHORE_BACKEND_IN_FLIGHT_MAX",
    "LONGSHORE_BACKEND_QUEUE_MAX",
    "LONGSHORE_BACKEND_QUEUE_MS",
    "LONGSHORE_BACKEND_SLOW_START_MS",
    "LONGSHORE_EJECT_IN_A_ROW",
    "LONGSHORE_EJECT_MS",
    "LONGSHORE_REPLAY_BYTES",
    "LONGSHORE_CHECK_INTERVAL_MS",
    "LONGSHORE_CHECK_TIMEOUT_MS",
    "LONGSHORE_CHECK_RISE",
    "LONGSHORE_CHECK_FALL",
    "LONGSHORE_DRAIN_NOTICE_MS",
    // gateway
    "LONGSHORE_STORE_DEADLINE_MS",
    "LONGSHORE_CONNECTIONS_MAX",
    "LONGSHORE_NEAR_BYTES_MAX",
    "LONGSHORE_WAITERS_MAX",
    "LONGSHORE_STREAMS_MAX",
    "LONGSHORE_STREAM_HEARTBEAT_MS",
    "LONGSHORE_BODIES_BYTES_MAX",
    "LONGSHORE_STALE_IF_ERROR",
    "LONGSHORE_LB_ADMIN_URL",
    "LONGSHORE_ADMIN_KEY_FILE",
    "LONGSHORE_JWT_SECRET_FILE",
    "LONGSHORE_JWT_PUBLIC_KEY_FILE",
    "LONGSHORE_JWT_AUDIENCE",
    // cache-svc
    "LONGSHORE_NEAR_LEASE_MS",
    "LONGSHORE_SHARED_BYTES_MAX",
    "LONGSHORE_TTL_MS",
    "LONGSHORE_ABSENT_TTL_MS",
    "LONGSHORE_LOADS_MAX",
    "LONGSHORE_AUDITS_PER_SECOND",
    "LONGSHORE_FENCES_MAX",
    // store-svc
    "LONGSHORE_DISPATCH_WINDOW",
    "LONGSHORE_QUEUE_DEPTH_MAX",
    "LONGSHORE_RETRY_BASE_MS",
    "LONGSHORE_RETRY_MAX_MS",
    "LONGSHORE_SEQUENCER_LEASE_MS",
    "LONGSHORE_LOG_KEPT_MS",
    "LONGSHORE_RETENTION_JOBS",
    "LONGSHORE_TOMBSTONES_KEPT_MS",
    "LONGSHORE_TOMBSTONES_MAX",
    "LONGSHORE_WEBHOOK_ALLOW",
    "LONGSHORE_WEBHOOK_CA_FILE",
    "LONGSHORE_WEBHOOK_TIMEOUT_MS",
    "LONGSHORE_WEBHOOK_RETRY_BASE_MS",
    "LONGSHORE_WEBHOOK_RETRY_MAX_MS",
    "LONGSHORE_WEBHOOK_GIVE_UP_MS",
    "LONGSHORE_WEBHOOK_KEPT_MS",
    // worker
    "LONGSHORE_TASKS",
    "LONGSHORE_PUBLIC_URL",
    "LONGSHORE_SLOTS",
    "LONGSHORE_HAND_OVER_MS",
    "LONGSHORE_HANDLER_THREADS",
    "LONGSHORE_WORKER_NAME",
    // store-svc and worker
    "LONGSHORE_RETENTION_MS",
    // cli
    "LONGSHORE_URL",
    "LONGSHORE_API_KEY",
    "LONGSHORE_API_KEY_FILE",
    "LONGSHORE_GATEWAYS",
    "LONGSHORE_DATA_DIR",
    "LONGSHORE_LB_LISTEN",
    "LONGSHORE_GATEWAY_LISTEN",
    "LONGSHORE_STORE_LISTEN",
    "LONGSHORE_CACHE_LISTEN",
    "LONGSHORE_WORKER_LISTEN",
];

/// Set by the worker for the programs that it starts; they may start ours.
const GIVEN_TO_TASKS: [&str; 5] =
    ["LONGSHORE_JOB_ID", "LONGSHORE_TASK", "LONGSHORE_RUN", "LONGSHORE_ATTEMPT", "LONGSHORE_FENCE"];

/// Variables that begin so hold secrets of `http` tasks; what follows is for the task file to name.
pub const SECRET_PREFIX: &str = "LONGSHORE_SECRET_";

/// Whether some program reads the variable, or the worker sets it.
pub fn is_known(name: &str) -> bool {
    KNOWN.contains(&name) || GIVEN_TO_TASKS.contains(&name) || name.starts_with(SECRET_PREFIX)
}

/// The known name nearest to a typo.
pub(super) fn nearest<'a>(name: &str, own: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let candidates = KNOWN.iter().copied().chain(own);
    candidates.min_by_key(|known| distance(name, known))
}

/// Edit distance (Wagner and Fischer 1974) over bytes, in one row.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, byte_a) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, byte_b) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(byte_a != byte_b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(typo: &str, expected: &str) {
        assert_eq!(nearest(typo, std::iter::empty()), Some(expected), "{typo}");
    }

    #[test]
    fn a_typo_is_named_with_its_nearest_match() {
        check("LONGSHORE_LISTN", "LONGSHORE_LISTEN");
        check("LONGSHORE_STOREURL", "LONGSHORE_STORE_URL");
        check("LONGSHORE_SLOT", "LONGSHORE_SLOTS");
        check("LONGSHORE_BACKEND", "LONGSHORE_BACKENDS");
        check("LONGSHORE_LOGFORMAT", "LONGSHORE_LOG_FORMAT");
    }

    #[test]
    fn distances_are_counted_in_edits() {
        for (a, b, expected) in [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("same", "same", 0)] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
