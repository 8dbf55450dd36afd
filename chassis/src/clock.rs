//! The two clocks. Leases use `now_ms`, which steps for nobody and runs on while the machine sleeps; people see `wall_ms`.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds of `CLOCK_BOOTTIME`. Only differences mean something, and only within one boot of one machine.
pub fn now_ms() -> u64 {
    now_us() / 1_000
}

/// The same in microseconds, for what happens within one millisecond.
pub fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    // Time since boot is never negative.
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000
}

/// Unix time in milliseconds: for timestamps shown to people and for due times, never for leases.
pub fn wall_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

/// The same in nanoseconds, as the steps of traces have it; 0 before 1970.
pub fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_clock_never_goes_back() {
        let mut last = now_us();
        for _ in 0..1_000 {
            let now = now_us();
            assert!(now >= last && now_ms() >= now / 1_000);
            last = now;
        }
    }

    #[test]
    fn the_wall_clock_is_in_this_century() {
        assert!((1_600_000_000_000..4_100_000_000_000).contains(&wall_ms()));
    }
}
