//! The report as data: what `--json` prints, and what the text and the page are made from. docs/load.md describes every member.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use protocol::time::Timestamp;
use serde::Serialize;

use super::clocks::Offset;
use super::drive::Driven;
use super::jobs::{JobCounts, Jobs, States};
use super::mix::Kind;
use super::numbers::{mib, ms, per_second, real};
use super::plan::Plan;
use super::programs::Process;
use super::tally::{Bucket, Counts, OfKind, micros};
use super::verdict::{Facts, Rate, StageFacts, Verdict, verdict};

#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    version: u32,
    pub(crate) url: String,
    pub(crate) started_at: Timestamp,
    pub(crate) length_s: f64,
    pub(crate) took_s: f64,
    pub(crate) interrupted: bool,
    pub(crate) mix: String,
    pub(crate) task: String,
    pub(crate) seed: u64,
    pub(crate) verdict: Verdict,
    pub(crate) requests: RequestCounts,
    pub(crate) stages: Vec<StageLine>,
    pub(crate) kinds: Vec<KindLine>,
    pub(crate) jobs: Option<JobLine>,
    pub(crate) processes: Vec<ProcessLine>,
    pub(crate) generator: Generator,
    pub(crate) timeline: Vec<Moment>,
}

#[derive(Debug, Serialize)]
pub(crate) struct RequestCounts {
    pub(crate) offered_per_s: f64,
    pub(crate) achieved_per_s: f64,
    pub(crate) due: u64,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) not_sent: u64,
    pub(crate) in_flight_max: u64,
    /// The most that waited for a place in flight.
    pub(crate) backlog_max: u64,
    pub(crate) open_at_end: u64,
    /// From the last request's instant to the last answer.
    pub(crate) cleared_after_s: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct StageLine {
    pub(crate) stage: String,
    pub(crate) length_s: f64,
    pub(crate) offered_per_s: f64,
    pub(crate) achieved_per_s: f64,
    pub(crate) open_at_end: u64,
    pub(crate) backlog_at_end: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct KindLine {
    pub(crate) kind: Kind,
    pub(crate) due: u64,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) latency_ms: Quantiles,
    pub(crate) failed_after_ms: Quantiles,
    pub(crate) errors: BTreeMap<String, u64>,
    /// Quantile and ms, for the curve.
    #[serde(skip)]
    pub(crate) curve: Vec<(f64, f64)>,
}

/// In ms; all 0 where nothing was counted.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) count: u64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) max: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct JobLine {
    #[serde(flatten)]
    pub(crate) counts: JobCounts,
    pub(crate) done_per_s: f64,
    pub(crate) submit_to_start_ms: Quantiles,
    pub(crate) submit_to_done_ms: Quantiles,
    pub(crate) clock: Offset,
    #[serde(skip)]
    pub(crate) curves: [(&'static str, Vec<(f64, f64)>); 2],
}

#[derive(Debug, Serialize)]
pub(crate) struct ProcessLine {
    pub(crate) name: String,
    pub(crate) addresses: Vec<String>,
    /// Of a core: 1 is one core all the time.
    pub(crate) cpu_mean: f64,
    pub(crate) cpu_max: f64,
    pub(crate) cpu_us_per_request: f64,
    pub(crate) resident_mib_first: f64,
    pub(crate) resident_mib_max: f64,
    /// Instant in s, share of a core, resident MiB.
    pub(crate) over_time: Vec<(f64, f64, f64)>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Generator {
    /// How much later than due requests were taken up.
    pub(crate) lateness_ms: Quantiles,
    pub(crate) cpu_us_per_request: f64,
    pub(crate) cpu_max: f64,
}

/// A slice of time.
#[derive(Debug, Serialize)]
pub(crate) struct Moment {
    pub(crate) at_s: f64,
    pub(crate) offered_per_s: f64,
    pub(crate) achieved_per_s: f64,
    pub(crate) failed_per_s: f64,
    pub(crate) in_flight: u64,
    pub(crate) backlog: u64,
    /// Of the requests due in this slice, by kind, in ms.
    pub(crate) latency_ms: BTreeMap<Kind, Middle>,
    /// At its end.
    pub(crate) jobs: Option<States>,
}

/// In ms.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Middle {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Measured<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) url: String,
    pub(crate) started_at: Timestamp,
    pub(crate) driven: &'a Driven,
    pub(crate) jobs: Option<&'a Jobs>,
    /// Readings until the end of the load; the generator is the first.
    pub(crate) processes: &'a [Process],
}

impl Summary {
    pub(crate) fn new(measured: &Measured<'_>) -> Self {
        let Measured { plan, driven, jobs, .. } = measured;
        let tally = &driven.tally;
        let processes: Vec<ProcessLine> =
            measured.processes.iter().map(|process| process_line(process, driven)).collect();
        let generator = Generator {
            lateness_ms: Quantiles::of(&tally.lateness),
            cpu_us_per_request: processes.first().map_or(0.0, |own| own.cpu_us_per_request),
            cpu_max: processes.first().map_or(0.0, |own| own.cpu_max),
        };
        let kinds = Kind::ALL.into_iter().filter(|kind| plan.mix.has(*kind));
        Self {
            version: 1,
            url: measured.url.clone(),
            started_at: measured.started_at,
            length_s: driven.scheduled.as_secs_f64(),
            took_s: driven.took.as_secs_f64(),
            interrupted: driven.interrupted,
            mix: plan.mix.to_string(),
            task: plan.task.to_string(),
            seed: plan.seed,
            verdict: verdict(&facts(measured, &generator)),
            requests: request_counts(driven),
            stages: stage_facts(plan, driven).iter().zip(&driven.stage_ends).map(stage_line).collect(),
            kinds: kinds.map(|kind| kind_line(kind, &tally.kinds[kind.place()])).collect(),
            jobs: jobs.map(|jobs| job_line(jobs, driven)),
            processes,
            generator,
            timeline: timeline(driven, *jobs),
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.verdict.rate == Rate::Held
    }

    pub(crate) fn lost(&self) -> u64 {
        self.jobs.as_ref().map_or(0, |jobs| jobs.counts.lost)
    }
}

impl Quantiles {
    pub(crate) fn of(times: &Histogram<u64>) -> Self {
        let at = |quantile| if times.is_empty() { 0.0 } else { ms(times.value_at_quantile(quantile)) };
        let (p50, p90, p99, p99_9) = (at(0.5), at(0.9), at(0.99), at(0.999));
        Self { count: times.len(), p50, p90, p99, p99_9, max: ms(times.max()) }
    }
}

fn facts(measured: &Measured<'_>, generator: &Generator) -> Facts {
    let driven = measured.driven;
    let counts = &driven.tally.counts;
    let jobs = measured.jobs.map(|jobs| &jobs.counts);
    Facts {
        stages: stage_facts(measured.plan, driven),
        due: counts.due,
        failed: counts.failed,
        not_sent: counts.not_sent,
        jobs_accepted: jobs.map_or(0, |jobs| jobs.accepted),
        jobs_waiting_at_end: jobs.map_or(0, |jobs| jobs.waiting_at_end),
        lateness_p99: Duration::from_micros(driven.tally.lateness.value_at_quantile(0.99)),
        own_cpu_max: generator.cpu_max,
    }
}

fn request_counts(driven: &Driven) -> RequestCounts {
    let counts = driven.tally.counts;
    let at_end = driven.stage_ends.last().copied().unwrap_or_default();
    let most = |of: fn(&Bucket) -> u64| driven.tally.buckets.iter().map(of).max().unwrap_or_default();
    RequestCounts {
        offered_per_s: per_second(counts.due, driven.scheduled),
        achieved_per_s: per_second(at_end.done, driven.scheduled),
        due: counts.due,
        done: counts.done,
        failed: counts.failed,
        not_sent: counts.not_sent,
        in_flight_max: most(|bucket| bucket.in_flight),
        backlog_max: most(|bucket| bucket.waiting),
        open_at_end: at_end.open(),
        cleared_after_s: driven.took.saturating_sub(driven.scheduled).as_secs_f64(),
    }
}

fn stage_facts(plan: &Plan, driven: &Driven) -> Vec<StageFacts> {
    let mut facts = Vec::new();
    let (mut before, mut begin) = (Counts::default(), Duration::ZERO);
    for (stage, after) in plan.stages.as_slice().iter().zip(&driven.stage_ends) {
        // An interruption shortens the last one.
        let length = stage.length.min(driven.scheduled.saturating_sub(begin));
        facts.push(StageFacts {
            name: stage.to_string(),
            length,
            due: after.due - before.due,
            done: after.done - before.done,
            open_before: before.open(),
            open_after: after.open(),
        });
        (before, begin) = (*after, begin + stage.length);
    }
    facts
}

fn stage_line((facts, end): (&StageFacts, &Counts)) -> StageLine {
    StageLine {
        stage: facts.name.clone(),
        length_s: facts.length.as_secs_f64(),
        offered_per_s: per_second(facts.due, facts.length),
        achieved_per_s: per_second(facts.done, facts.length),
        open_at_end: facts.open_after,
        backlog_at_end: end.waiting,
    }
}

fn kind_line(kind: Kind, of: &OfKind) -> KindLine {
    KindLine {
        kind,
        due: of.due,
        done: of.done,
        failed: of.failed(),
        latency_ms: Quantiles::of(&of.times),
        failed_after_ms: Quantiles::of(&of.failed_times),
        errors: of.errors.clone(),
        curve: curve(&of.times),
    }
}

fn job_line(jobs: &Jobs, driven: &Driven) -> JobLine {
    JobLine {
        counts: jobs.counts.clone(),
        done_per_s: per_second(jobs.ended_by(driven.scheduled), driven.scheduled),
        submit_to_start_ms: Quantiles::of(&jobs.to_start),
        submit_to_done_ms: Quantiles::of(&jobs.to_done),
        clock: jobs.clock,
        curves: [("submit → start", curve(&jobs.to_start)), ("submit → done", curve(&jobs.to_done))],
    }
}

fn process_line(process: &Process, driven: &Driven) -> ProcessLine {
    let spans = process.spans();
    let sent = driven.tally.counts.due.saturating_sub(driven.tally.counts.not_sent);
    let cpu = process.cpu_until(Duration::MAX);
    let span = match process.readings.as_slice() {
        [first, .., last] => last.at.saturating_sub(first.at),
        _ => Duration::ZERO,
    };
    let memory = process.readings.iter().map(|reading| mib(reading.resident_bytes));
    let over_time = spans.iter().map(|span| (span.until.as_secs_f64(), span.cpu_share, mib(span.resident_bytes)));
    ProcessLine {
        name: process.name.clone(),
        addresses: process.addresses.iter().map(ToString::to_string).collect(),
        cpu_mean: if span.is_zero() { 0.0 } else { cpu.as_secs_f64() / span.as_secs_f64() },
        cpu_max: spans.iter().map(|span| span.cpu_share).fold(0.0, f64::max),
        cpu_us_per_request: if sent == 0 { 0.0 } else { real(micros(cpu)) / real(sent) },
        resident_mib_first: memory.clone().next().unwrap_or_default(),
        resident_mib_max: memory.fold(0.0, f64::max),
        over_time: over_time.collect(),
    }
}

fn timeline(driven: &Driven, jobs: Option<&Jobs>) -> Vec<Moment> {
    let tally = &driven.tally;
    let mut begin = Duration::ZERO;
    let mut moments = Vec::new();
    // The jobs of a load may go on for longer than its requests.
    let last = jobs.and_then(Jobs::last_end).unwrap_or_default();
    let empty = Bucket::default();
    let mut buckets = tally.buckets.iter();
    loop {
        let bucket = match buckets.next() {
            Some(bucket) => bucket,
            None if begin <= last => &empty,
            None => return moments,
        };
        // The last slice may be cut by the end of the schedule.
        let width = tally.width.min(driven.scheduled.saturating_sub(begin)).max(Duration::from_millis(1));
        let offered = if begin < driven.scheduled { per_second(bucket.due, width) } else { 0.0 };
        let times = Kind::ALL.into_iter().filter_map(|kind| {
            let times = bucket.times[kind.place()].as_ref()?;
            Some((kind, Middle { p50: ms(times.value_at_quantile(0.5)), p99: ms(times.value_at_quantile(0.99)) }))
        });
        moments.push(Moment {
            at_s: begin.as_secs_f64(),
            offered_per_s: offered,
            achieved_per_s: per_second(bucket.done, tally.width),
            failed_per_s: per_second(bucket.failed, tally.width),
            in_flight: bucket.in_flight,
            backlog: bucket.waiting,
            latency_ms: times.collect(),
            jobs: jobs.map(|jobs| jobs.at(begin + tally.width)),
        });
        begin += tally.width;
    }
}

/// Points of the percentile curve, denser towards the end: 0, 50, 75, 87.5 % and so on with steps between.
fn curve(times: &Histogram<u64>) -> Vec<(f64, f64)> {
    if times.is_empty() {
        return Vec::new();
    }
    let points =
        times.iter_quantiles(5).map(|point| (point.quantile_iterated_to().min(1.0), ms(point.value_iterated_to())));
    points.collect()
}
