//! What a load has seen: by kind, over time, and of the generator itself. Times count from each request's intended start. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use protocol::ids::JobId;

use super::mix::Kind;
use super::requests::Outcome;

/// The plots have at most about so many points.
const BUCKETS: u32 = 300;

/// Microseconds; three digits are kept, two of the many small ones over time.
type Times = Histogram<u64>;
type FewTimes = Histogram<u32>;

/// A request that a load is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) kind: Kind,
    pub(crate) key: usize,
    /// Its intended start, from the start of the load.
    pub(crate) due: Duration,
}

/// A job that the service has accepted. Instants count from the start of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AcceptedJob {
    pub(crate) job_id: JobId,
    pub(crate) due: Duration,
    pub(crate) sent: Duration,
    pub(crate) answered: Duration,
}

/// Of one kind of request.
#[derive(Debug)]
pub(crate) struct OfKind {
    pub(crate) due: u64,
    pub(crate) done: u64,
    /// Answers as asked for, and the waiting of those that got none.
    pub(crate) times: Times,
    /// Of those that were refused or failed, so that a quick refusal does not flatter the rest.
    pub(crate) failed_times: Times,
    /// By what went wrong.
    pub(crate) errors: BTreeMap<String, u64>,
}

/// A slice of the load's time.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    pub(crate) due: u64,
    /// Ended well, and otherwise, in this slice, whenever due.
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// The most that waited for a place, and the most that were in flight.
    pub(crate) waiting: u64,
    pub(crate) in_flight: u64,
    /// Of those due in this slice, whenever answered.
    pub(crate) times: [Option<Box<FewTimes>>; 5],
    not_sent: [u64; 5],
}

/// Counts at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) due: u64,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) not_sent: u64,
    /// Due, and waiting for a place among those in flight.
    pub(crate) waiting: u64,
    pub(crate) in_flight: u64,
    /// Of those in flight, waits that the service is asked to hold.
    pub(crate) held: u64,
}

impl Counts {
    /// Due and without an answer, but for those that are held on purpose.
    pub(crate) fn open(&self) -> u64 {
        self.waiting + self.in_flight.saturating_sub(self.held)
    }
}

#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) width: Duration,
    pub(crate) kinds: Vec<OfKind>,
    pub(crate) buckets: Vec<Bucket>,
    pub(crate) counts: Counts,
    pub(crate) accepted: Vec<AcceptedJob>,
    /// How much later than due a request was taken up, in µs: the generator's own fault.
    pub(crate) lateness: Times,
    /// Since the last look, for people who watch.
    pub(crate) recent: Times,
}

impl OfKind {
    fn new() -> Self {
        Self { due: 0, done: 0, times: times(), failed_times: times(), errors: BTreeMap::new() }
    }

    pub(crate) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

impl Tally {
    /// For a load of this length.
    pub(crate) fn new(length: Duration) -> Self {
        let seconds = length.as_secs().div_ceil(BUCKETS.into()).max(1);
        Self {
            width: Duration::from_secs(seconds),
            kinds: Kind::ALL.iter().map(|_| OfKind::new()).collect(),
            buckets: Vec::new(),
            counts: Counts::default(),
            accepted: Vec::new(),
            lateness: times(),
            recent: times(),
        }
    }

    /// A request is due; it was taken up so much later.
    pub(crate) fn due(&mut self, arrival: &Arrival, late: Duration) {
        self.counts.due += 1;
        self.kinds[arrival.kind.place()].due += 1;
        self.bucket(arrival.due).due += 1;
        self.lateness.saturating_record(micros(late));
    }

    /// The backlog is full: the request will not be sent. Its waiting is counted at the end.
    pub(crate) fn not_sent(&mut self, arrival: &Arrival) {
        self.counts.not_sent += 1;
        self.bucket(arrival.due).not_sent[arrival.kind.place()] += 1;
    }

    /// How many wait and are in flight now.
    pub(crate) fn level(&mut self, now: Duration, waiting: usize, in_flight: usize, held: usize) {
        self.counts.waiting = waiting as u64;
        self.counts.in_flight = in_flight as u64;
        self.counts.held = held as u64;
        let counts = self.counts;
        let bucket = self.bucket(now);
        bucket.waiting = bucket.waiting.max(counts.waiting);
        bucket.in_flight = bucket.in_flight.max(counts.in_flight);
    }

    /// A request that was sent has ended.
    pub(crate) fn ended(&mut self, arrival: &Arrival, sent: Duration, ended: Duration, outcome: Outcome) {
        let waited = ended.saturating_sub(arrival.due);
        match outcome {
            Outcome::Done(job) => {
                self.counts.done += 1;
                self.kinds[arrival.kind.place()].done += 1;
                self.bucket(ended).done += 1;
                self.time(arrival.kind, arrival.due, waited, 1);
                if let Some(job_id) = job {
                    self.accepted.push(AcceptedJob { job_id, due: arrival.due, sent, answered: ended });
                }
            }
            Outcome::Failed(what) => {
                self.fail(arrival.kind, what, ended, 1);
                self.kinds[arrival.kind.place()].failed_times.saturating_record(micros(waited));
            }
            Outcome::Unanswered(what) => {
                self.fail(arrival.kind, what, ended, 1);
                self.time(arrival.kind, arrival.due, waited, 1);
            }
        }
    }

    /// The load is over: what was never sent has waited until now at least.
    pub(crate) fn close(&mut self, now: Duration) {
        let width = self.width;
        let mut begin = Duration::ZERO;
        for place in 0..self.buckets.len() {
            let through = begin + width;
            for kind in Kind::ALL {
                let count = self.buckets[place].not_sent[kind.place()];
                if count > 0 {
                    self.fail(kind, "not sent, the backlog was full".to_owned(), now, count);
                    // The latest of the slice waited for the shortest time.
                    self.time(kind, begin, now.saturating_sub(through), count);
                }
            }
            begin = through;
        }
    }

    fn fail(&mut self, kind: Kind, what: String, at: Duration, count: u64) {
        self.counts.failed += count;
        *self.kinds[kind.place()].errors.entry(what).or_default() += count;
        self.bucket(at).failed += count;
    }

    fn time(&mut self, kind: Kind, due: Duration, waited: Duration, count: u64) {
        let waited = micros(waited);
        self.kinds[kind.place()].times.saturating_record_n(waited, count);
        self.recent.saturating_record_n(waited, count);
        let few = || Box::new(FewTimes::new(2).expect("two digits can be kept"));
        let times = self.bucket(due).times[kind.place()].get_or_insert_with(few);
        times.record_n(waited, u32::try_from(count).unwrap_or(u32::MAX)).expect("it grows with its values");
    }

    fn bucket(&mut self, at: Duration) -> &mut Bucket {
        let place = usize::try_from(at.as_millis() / self.width.as_millis()).unwrap_or(usize::MAX);
        if place >= self.buckets.len() {
            self.buckets.resize_with(place + 1, Bucket::default);
        }
        &mut self.buckets[place]
    }
}

/// A histogram of microseconds up to a week.
pub(crate) fn times() -> Times {
    Times::new_with_max(7 * 86_400 * 1_000_000, 3).expect("three digits can be kept")
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn arrival(due: u64) -> Arrival {
        Arrival { kind: Kind::Read, key: 0, due: at(due) }
    }

    /// p50 and the longest, in ms.
    fn shown(times: &Times) -> (u64, u64, u64) {
        (times.len(), times.value_at_quantile(0.5) / 1_000, times.max() / 1_000)
    }

    #[test]
    fn times_count_from_the_intended_start() {
        let mut tally = Tally::new(at(10_000));
        tally.due(&arrival(100), at(0));
        // Sent 400 ms late, for lack of a place, and answered quickly.
        tally.ended(&arrival(100), at(500), at(600), Outcome::Done(None));
        assert_eq!(shown(&tally.kinds[Kind::Read.place()].times), (1, 500, 500));
        assert_eq!((tally.buckets[0].due, tally.buckets[0].done), (1, 1));
    }

    #[test]
    fn refusals_do_not_flatter_and_missing_answers_are_not_left_out() {
        let mut tally = Tally::new(at(10_000));
        tally.ended(&arrival(0), at(0), at(1), Outcome::Failed("429 rate-limited".to_owned()));
        tally.ended(&arrival(0), at(0), at(5_000), Outcome::Unanswered("no answer in time".to_owned()));
        tally.not_sent(&arrival(2_500));
        tally.not_sent(&arrival(2_600));
        tally.close(at(9_000));
        let read = &tally.kinds[Kind::Read.place()];
        assert_eq!(shown(&read.failed_times), (1, 1, 1));
        // 5 s, and twice at least 6 s from the end of their slice.
        assert_eq!(read.times.len(), 3);
        assert!(read.times.max() >= 6_000_000);
        assert_eq!((read.failed(), tally.counts.failed, tally.counts.not_sent), (4, 4, 2));
        assert_eq!(read.errors.get("not sent, the backlog was full"), Some(&2));
    }

    #[test]
    fn answers_lie_in_the_slice_of_their_intended_start_and_ends_in_that_of_their_end() {
        let mut tally = Tally::new(Duration::from_secs(600));
        assert_eq!(tally.width, Duration::from_secs(2));
        tally.ended(&arrival(1_000), at(1_000), at(7_000), Outcome::Done(None));
        let few = tally.buckets[0].times[Kind::Read.place()].as_ref().expect("due in the first slice");
        assert_eq!((few.len(), tally.buckets[0].done, tally.buckets[3].done), (1, 0, 1));
    }

    #[test]
    fn what_is_held_on_purpose_is_not_open() {
        let mut tally = Tally::new(at(1_000));
        tally.level(at(0), 3, 10, 4);
        tally.level(at(10), 1, 2, 0);
        assert_eq!((tally.counts.open(), tally.buckets[0].waiting, tally.buckets[0].in_flight), (3, 3, 10));
    }
}
