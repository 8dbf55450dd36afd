//! What a schedule does about ticks that have come, and where it goes on. Pure: the same question has the same answer, whoever asks it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::ticks::Ticks;
use crate::ids::JobId;
use crate::key::ScheduleName;
use crate::time::Timestamp;

/// A tick that comes later than this was missed, ms.
pub const MISSED_AFTER_MS: i64 = 60_000;
/// With [`CatchUp::All`] so many missed ticks are run, the newest ones.
pub const CATCH_UP_MAX: usize = 1_000;

/// What becomes of ticks that came while nobody looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// The newest is run, late as it is; those before it are not.
    #[default]
    Latest,
    /// All are run, at most the newest 1,000.
    All,
    /// None is run that is more than a minute late.
    None,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// One job for each, the oldest first.
    pub run: VecDeque<Timestamp>,
    /// The newest tick, if it is not to be run.
    pub missed: Option<Timestamp>,
    /// Older ticks are not to be run.
    pub passed_over: bool,
    /// When to ask again; it may be now.
    pub next: Option<Timestamp>,
}

/// Of the ticks from `first` on, which has not been dealt with; at most `most` are run at once.
#[must_use]
pub fn due(ticks: Ticks<'_>, catch_up: CatchUp, first: Timestamp, now: Timestamp, most: usize) -> Due {
    if now < first {
        return Due { run: VecDeque::new(), missed: None, passed_over: false, next: Some(first) };
    }
    let wanted = if catch_up == CatchUp::All { CATCH_UP_MAX } else { 1 };
    let mut run = VecDeque::from(ticks.newest(first, now, wanted));
    let passed_over = run.front().is_some_and(|oldest| *oldest != first);
    let is_missed = |tick: &Timestamp| now.unix_ms() - tick.unix_ms() > MISSED_AFTER_MS;
    let missed = if catch_up == CatchUp::None { run.pop_front_if(|tick| is_missed(tick)) } else { None };
    let later = run.get(most).copied();
    run.truncate(most);
    Due { run, missed, passed_over, next: later.or_else(|| ticks.after(now)) }
}

/// The id of the job of a tick: always the same, so that there is one however often it is asked for. Nobody can guess it who does not know the salt of
/// the schedule's tenant.
#[must_use]
pub fn job_of(salt: Uuid, name: &ScheduleName, tick: Timestamp) -> JobId {
    let digest = Sha256::digest(format!("{salt}/{name}@{}", tick.unix_ms()));
    let mut rest = [0; 10];
    rest.copy_from_slice(&digest[..10]);
    let made_ms = tick.unix_ms().max(0).unsigned_abs();
    JobId(uuid::Builder::from_unix_timestamp_millis(made_ms, &rest).into_uuid())
}

/// Notices that the clock on the wall was put back, by one that never is.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClockWatch(Option<(i64, u64)>);

/// Clocks that are adjusted gently differ by less, ms.
const STEP_MS: i64 = 500;

impl ClockWatch {
    /// Whether it was put back since the last look, or may have been: at the first.
    pub fn was_put_back(&mut self, wall_ms: i64, now_ms: u64) -> bool {
        let last = self.0.replace((wall_ms, now_ms));
        last.is_none_or(|(last_wall_ms, last_now_ms)| {
            wall_ms < last_wall_ms.saturating_add_unsigned(now_ms.saturating_sub(last_now_ms)) - STEP_MS
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::cron::Cron;
    use super::super::ticks::Zone;
    use super::*;

    const MINUTE: i64 = 60_000;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_unix_ms(minute * MINUTE)
    }

    fn minutes(ticks: impl IntoIterator<Item = Timestamp>) -> Vec<i64> {
        ticks.into_iter().map(|tick| tick.unix_ms() / MINUTE).collect()
    }

    /// Of a schedule of every minute whose tick 100 is the first open one.
    fn of_every_minute(catch_up: CatchUp, now: Timestamp, most: usize) -> Due {
        let (cron, zone) = (Cron::try_from("* * * * *").expect("an expression"), Zone::default());
        due(Ticks { cron: &cron, zone: &zone }, catch_up, at(100), now, most)
    }

    #[test]
    fn ticks_are_run_as_the_policy_says() {
        type Expected = (Vec<i64>, Option<i64>, bool, i64);
        let check = |catch_up, now: i64, expected: Expected| {
            let Due { run, missed, passed_over, next } = of_every_minute(catch_up, at(now), 4);
            let found = (minutes(run), minutes(missed).pop(), passed_over, minutes(next)[0]);
            assert_eq!(found, expected, "{catch_up:?} at {now}");
        };
        for policy in [CatchUp::Latest, CatchUp::All, CatchUp::None] {
            check(policy, 42, (vec![], None, false, 100));
            check(policy, 99, (vec![], None, false, 100));
            check(policy, 100, (vec![100], None, false, 101));
        }
        check(CatchUp::Latest, 110, (vec![110], None, true, 111));
        check(CatchUp::None, 110, (vec![110], None, true, 111));
        check(CatchUp::All, 103, (vec![100, 101, 102, 103], None, false, 104));
        check(CatchUp::All, 110, (vec![100, 101, 102, 103], None, false, 104));
        // Days later: the newest 1,000.
        check(CatchUp::All, 10_000, (vec![9_001, 9_002, 9_003, 9_004], None, true, 9_005));
        check(CatchUp::Latest, 10_000_000, (vec![10_000_000], None, true, 10_000_001));
    }

    #[test]
    fn a_late_tick_is_missed_where_none_is_caught_up() {
        let (cron, zone) = (Cron::try_from("@hourly").expect("an expression"), Zone::default());
        let ticks = Ticks { cron: &cron, zone: &zone };
        let check = |catch_up, late_ms: i64, runs: &[i64], missed: Option<i64>| {
            let now = Timestamp::from_unix_ms(120 * MINUTE + late_ms);
            let found = due(ticks, catch_up, at(120), now, 10);
            assert_eq!((minutes(found.run), minutes(found.missed).pop()), (runs.to_vec(), missed), "{late_ms}");
            assert_eq!(found.next, Some(at(180)));
        };
        check(CatchUp::None, 0, &[120], None);
        check(CatchUp::None, MISSED_AFTER_MS, &[120], None);
        check(CatchUp::None, MISSED_AFTER_MS + 1, &[], Some(120));
        check(CatchUp::Latest, MISSED_AFTER_MS + 1, &[120], None);
        check(CatchUp::All, 59 * MINUTE, &[120], None);
    }

    #[test]
    fn step_by_step_all_are_run_once() {
        let (cron, zone) = (Cron::try_from("*/2 * * * *").expect("an expression"), Zone::default());
        let ticks = Ticks { cron: &cron, zone: &zone };
        let (mut next, mut run) = (at(100), Vec::new());
        for now in [90, 100, 101, 140, 141, 141, 120, 142] {
            loop {
                let step = due(ticks, CatchUp::All, next, at(now), 3);
                run.extend(minutes(step.run));
                next = step.next.expect("it goes on");
                if next > at(now) {
                    break;
                }
            }
        }
        assert_eq!(run, (100..=142).step_by(2).collect::<Vec<i64>>());
    }

    #[test]
    fn a_tick_has_one_job_and_no_two_have_the_same() {
        let name = |text: &str| ScheduleName::try_from(text).expect("a name");
        let (salt, another) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let job = job_of(salt, &name("nightly"), at(100));
        assert_eq!(job, job_of(salt, &name("nightly"), at(100)));
        assert_eq!(job.made_ms(), Some(at(100).unix_ms()));
        for other in [
            job_of(salt, &name("nightly"), at(101)),
            job_of(salt, &name("nightly2"), at(100)),
            job_of(another, &name("nightly"), at(100)),
        ] {
            assert_ne!(job, other);
        }
    }

    #[test]
    fn a_clock_that_is_put_back_is_noticed() {
        let mut watch = ClockWatch::default();
        let mut check = |wall_ms: i64, now_ms: u64, expected: bool| {
            assert_eq!(watch.was_put_back(wall_ms, now_ms), expected, "{wall_ms} at {now_ms}");
        };
        check(1_000_000, 10_000, true);
        check(1_000_100, 10_100, false);
        check(1_005_000, 15_100, false);
        check(9_000_000, 15_200, false);
        check(1_005_200, 15_300, true);
        check(1_005_300, 15_400, false);
        // It goes on, but less far than time did.
        check(1_006_300, 20_400, true);
    }
}
