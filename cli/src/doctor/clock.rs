//! The clocks: leases count by one that runs on while the machine sleeps, times for people and due times by that of the day.

use std::path::Path;
use std::time::Duration;

use chassis::finding::Finding;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::durations;

const CHECK: &str = "clock";
/// The promises hold while clocks run alike within a hundredth; a clock that is being slewed by a half of that is on its way there.
const SLEW_MAX: f64 = 0.005;
/// Before this was written, nobody ran it: 2026-01-01.
const YOUNGEST: Duration = Duration::from_secs(1_767_225_600);
/// What a machine must have been up for a slew to be told from noise.
const UP_MIN: Duration = Duration::from_secs(600);
/// systemd-timesyncd touches it when it has set the clock.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";

/// What the clocks say at one moment.
struct Clocks {
    day: Duration,
    boot: Duration,
    monotonic: Duration,
    raw: Duration,
}

pub(super) fn look() -> Finding {
    let clocks = Clocks {
        day: read(ClockId::Realtime),
        monotonic: read(ClockId::Monotonic),
        raw: read(ClockId::MonotonicRaw),
        // Last, as it must not be behind.
        boot: read(ClockId::Boottime),
    };
    judge(&clocks, Path::new(SYNCHRONISED).exists())
}

fn read(clock: ClockId) -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    Duration::from_secs(tv_sec.try_into().unwrap_or(0)) + Duration::from_nanos(tv_nsec.try_into().unwrap_or(0))
}

fn judge(clocks: &Clocks, is_synchronised: bool) -> Finding {
    if clocks.day < YOUNGEST {
        let found = "the clock of the day is years behind: due times would never come";
        return Finding::fault(CHECK, found, "set it, and keep it set: `timedatectl set-ntp true`, or chrony");
    }
    if clocks.boot < clocks.monotonic {
        let found = "CLOCK_BOOTTIME is behind CLOCK_MONOTONIC: leases cannot be measured";
        return Finding::fault(CHECK, found, "this kernel, or what emulates it, cannot run Longshore");
    }
    let slew = clocks.monotonic.as_secs_f64() / clocks.raw.as_secs_f64().max(1.0) - 1.0;
    if clocks.raw > UP_MIN && slew.abs() > SLEW_MAX {
        let found = format!("the clock runs {:.1} % off the hardware's since the machine started", slew * 100.0);
        let advice =
            "look at what sets it (NTP); leases are safe while the clocks of all machines run alike within 1 %";
        return Finding::warning(CHECK, found, advice);
    }
    let slept = clocks.boot.saturating_sub(clocks.monotonic).as_millis();
    let slept = durations::show_ms(u64::try_from(slept).unwrap_or(u64::MAX));
    let kept =
        if is_synchronised { "set by systemd-timesyncd" } else { "whether NTP sets it cannot be seen from here" };
    Finding::ok(
        CHECK,
        format!("leases count on while the machine sleeps ({slept} so far); the time of the day: {kept}"),
    )
}

#[cfg(test)]
mod tests {
    use chassis::finding::Level;

    use super::*;

    #[test]
    fn clocks_that_cannot_be_are_faults() {
        let hours = |hours: u64| Duration::from_secs(3_600 * hours);
        let check = |day, boot, monotonic, raw, expected| {
            let found = judge(&Clocks { day, boot, monotonic, raw }, false);
            assert_eq!(found.level, expected, "{found:?}");
        };
        let now = YOUNGEST + hours(1);
        check(now, hours(5), hours(4), hours(4), Level::Ok);
        check(hours(1), hours(5), hours(4), hours(4), Level::Fault);
        check(now, hours(3), hours(4), hours(4), Level::Fault);
        check(now, hours(103), hours(101), hours(100), Level::Warning);
    }

    #[test]
    fn this_machine_has_clocks() {
        assert_ne!(look().level, Level::Fault);
    }
}
