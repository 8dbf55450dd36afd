//! From what is known about the accepted jobs to counts, latencies and their states over time. Pure.

use std::time::Duration;

use hdrhistogram::Histogram;
use protocol::api::Status;
use serde::Serialize;

use super::clocks::{Bound, Offset, offset};
use super::look_up::{Fate, Shown};
use super::tally::{AcceptedJob, micros, times};

/// Lost jobs that are named; all are counted.
const NAMED: usize = 20;

#[derive(Debug)]
pub(crate) struct Jobs {
    pub(crate) counts: JobCounts,
    pub(crate) clock: Offset,
    /// From the submit's intended start, in µs; of those that have not got there, the time until they were looked at.
    pub(crate) to_start: Histogram<u64>,
    pub(crate) to_done: Histogram<u64>,
    /// Sorted instants at which jobs were created, began and ended, in µs from the start of the load.
    created: Vec<u64>,
    started: Vec<u64>,
    finished: Vec<u64>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct JobCounts {
    pub(crate) accepted: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    /// Not ended when the waiting for them was.
    pub(crate) open: u64,
    pub(crate) lost: u64,
    /// The service could not be asked.
    pub(crate) unknown: u64,
    /// Accepted and not begun when the last request was due.
    pub(crate) waiting_at_end: u64,
    pub(crate) lost_ids: Vec<String>,
}

/// How many jobs are in which state at an instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct States {
    pub(crate) waiting: usize,
    pub(crate) running: usize,
    pub(crate) ended: usize,
}

/// Instants of the load, from its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instants {
    /// The start itself, by our wall clock, in ms of Unix time.
    pub(crate) start_unix_ms: f64,
    pub(crate) scheduled: Duration,
    /// When the jobs were looked at for the last time.
    pub(crate) looked: Duration,
}

impl Jobs {
    /// `fates` are those of `accepted`, in the same order.
    pub(crate) fn new(accepted: &[AcceptedJob], fates: &[Fate], instants: Instants) -> Self {
        let known = accepted.iter().zip(fates).filter_map(|(job, fate)| match fate {
            Fate::Known(shown) => Some((job, shown)),
            Fate::Unknown | Fate::Lost => None,
        });
        let start = instants.start_unix_ms;
        let clock = offset(known.clone().map(|(job, shown)| Bound {
            sent: start + ms(job.sent),
            answered: start + ms(job.answered),
            created: unix_ms(shown.created_at.unix_ms()),
        }));
        let mut jobs = Self {
            counts: count(accepted, fates),
            clock,
            to_start: times(),
            to_done: times(),
            created: Vec::new(),
            started: Vec::new(),
            finished: Vec::new(),
        };
        let ours = |theirs: i64| whole_micros((unix_ms(theirs) + clock.offset_ms - start) * 1e3);
        for (job, shown) in known {
            jobs.add(job, shown, instants, ours);
        }
        for instants in [&mut jobs.created, &mut jobs.started, &mut jobs.finished] {
            instants.sort_unstable();
        }
        jobs.counts.waiting_at_end = jobs.at(instants.scheduled).waiting as u64;
        jobs
    }

    fn add(&mut self, job: &AcceptedJob, shown: &Shown, instants: Instants, ours: impl Fn(i64) -> u64) {
        let due = micros(job.due);
        let looked = micros(instants.looked);
        let started = shown.started_at.map(|at| ours(at.unix_ms()));
        let finished = shown.finished_at.filter(|_| shown.status.is_terminal()).map(|at| ours(at.unix_ms()));
        self.created.push(ours(shown.created_at.unix_ms()));
        self.started.extend(started.or(finished));
        self.finished.extend(finished);
        self.to_start.saturating_record(started.or(finished).unwrap_or(looked).saturating_sub(due));
        self.to_done.saturating_record(finished.unwrap_or(looked).saturating_sub(due));
    }

    /// The states at this instant.
    pub(crate) fn at(&self, instant: Duration) -> States {
        let until = micros(instant);
        let count = |instants: &[u64]| instants.partition_point(|at| *at <= until);
        let (created, started, ended) = (count(&self.created), count(&self.started), count(&self.finished));
        States { waiting: created.saturating_sub(started), running: started.saturating_sub(ended), ended }
    }

    /// Jobs that had ended by then.
    pub(crate) fn ended_by(&self, instant: Duration) -> u64 {
        self.at(instant).ended as u64
    }

    /// When the last job ended, in so far as they did.
    pub(crate) fn last_end(&self) -> Option<Duration> {
        self.finished.last().map(|at| Duration::from_micros(*at))
    }
}

fn count(accepted: &[AcceptedJob], fates: &[Fate]) -> JobCounts {
    let mut counts = JobCounts { accepted: accepted.len() as u64, ..JobCounts::default() };
    for (job, fate) in accepted.iter().zip(fates) {
        let of_fate = match fate {
            Fate::Unknown => &mut counts.unknown,
            Fate::Lost => &mut counts.lost,
            Fate::Known(shown) => match shown.status {
                Status::Succeeded => &mut counts.succeeded,
                Status::Failed => &mut counts.failed,
                Status::Cancelled => &mut counts.cancelled,
                Status::Scheduled | Status::Queued | Status::Running => &mut counts.open,
            },
        };
        *of_fate += 1;
        if *fate == Fate::Lost && counts.lost_ids.len() < NAMED {
            counts.lost_ids.push(job.job_id.to_string());
        }
    }
    counts
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "ms of this century are exact in a double")]
fn unix_ms(ms: i64) -> f64 {
    ms as f64
}

pub(crate) fn whole_ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Before the start counts as the start.
fn whole_micros(micros: f64) -> u64 {
    Duration::try_from_secs_f64(micros / 1e6).map_or(0, super::tally::micros)
}

#[cfg(test)]
mod tests {
    use protocol::ids::JobId;
    use protocol::time::Timestamp;

    use super::*;

    const START: i64 = 1_700_000_000_000;

    /// A job due at `due` and answered 3 ms later; `theirs` are its times by the service, in ms from the start.
    fn job(due: u64, status: Status, theirs: (i64, Option<i64>, Option<i64>)) -> (AcceptedJob, Fate) {
        let at = |ms| Timestamp::from_unix_ms(START + ms);
        let due = Duration::from_millis(due);
        let job_id = JobId::generate();
        let (created, started, finished) = theirs;
        let (started_at, finished_at) = (started.map(at), finished.map(at));
        let shown = Shown { job_id, status, created_at: at(created), started_at, finished_at };
        let accepted = AcceptedJob { job_id, due, sent: due, answered: due + Duration::from_millis(3) };
        (accepted, Fate::Known(shown))
    }

    fn of(jobs: &[(AcceptedJob, Fate)]) -> Jobs {
        let (accepted, fates): (Vec<_>, Vec<_>) = jobs.iter().copied().unzip();
        let (scheduled, looked) = (Duration::from_secs(1), Duration::from_secs(10));
        Jobs::new(&accepted, &fates, Instants { start_unix_ms: 1_700_000_000_000.0, scheduled, looked })
    }

    /// The times, in µs, as far as the histogram keeps them.
    fn check(times: &Histogram<u64>, expected: &[u64]) {
        let alike = expected.iter().all(|time| times.count_between(time - time / 1_000, time + time / 1_000) == 1);
        assert!(alike && times.len() == expected.len() as u64, "{times:?} is not {expected:?}");
    }

    #[test]
    fn latencies_count_from_the_intended_start_and_open_jobs_from_it_until_now() {
        let jobs = of(&[
            job(0, Status::Succeeded, (1, Some(5), Some(20))),
            job(100, Status::Queued, (101, None, None)),
            job(900, Status::Succeeded, (901, Some(3_000), Some(3_500))),
        ]);
        check(&jobs.to_start, &[5_000, 2_100_000, 9_900_000]);
        check(&jobs.to_done, &[20_000, 2_600_000, 9_900_000]);
        assert_eq!(jobs.at(Duration::from_millis(10)), States { waiting: 0, running: 1, ended: 0 });
        assert_eq!(jobs.at(Duration::from_secs(1)), States { waiting: 2, running: 0, ended: 1 });
        assert_eq!(jobs.at(Duration::from_secs(9)), States { waiting: 1, running: 0, ended: 2 });
        assert_eq!((jobs.counts.open, jobs.counts.waiting_at_end), (1, 2));
    }

    #[test]
    fn a_service_with_another_clock_is_not_believed() {
        let hour = 3_600_000;
        let jobs = of(&[job(0, Status::Succeeded, (1 + hour, Some(5 + hour), Some(20 + hour)))]);
        assert!((20_000 - 2_000..=20_000 + 2_000).contains(&jobs.to_done.max()), "{}", jobs.to_done.max());
        assert!(jobs.clock.within_ms <= 2.0 && jobs.clock.offset_ms < -3_599_000.0, "{:?}", jobs.clock);
    }

    #[test]
    fn each_fate_is_counted_once() {
        let (lost, _) = job(0, Status::Queued, (1, None, None));
        let jobs = of(&[
            (lost, Fate::Lost),
            (lost, Fate::Unknown),
            job(0, Status::Failed, (1, Some(2), Some(3))),
            job(0, Status::Cancelled, (1, None, Some(3))),
        ]);
        let counts = &jobs.counts;
        assert_eq!((counts.accepted, counts.lost, counts.unknown, counts.failed, counts.cancelled), (4, 1, 1, 1, 1));
        assert_eq!(counts.lost_ids, [lost.job_id.to_string()]);
    }
}
