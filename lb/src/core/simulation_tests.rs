//! Seeded simulations: a balancer before a few backends, each with some workers and a queue, in virtual time. They show what each way of picking
//! costs when backends differ.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::latency::PeakEwma;
use super::pick::{Draw, Load, Policy, Rotation};
use super::ramp;

#[path = "simulation_picture.rs"]
mod picture;

const BACKENDS: usize = 3;
/// Requests that a backend works on at a time.
const WORKERS: usize = 8;
const WORK_MS: f64 = 4.0;
const LENGTH: Duration = Duration::from_secs(60);
/// What came before is not counted: the acceptance of a slow backend gives as much to find out.
const SETTLED: Duration = Duration::from_secs(10);
const SLOW: f64 = 10.0;
const SEEDS: [u64; 3] = [1, 2, 3];
const PER_SECOND: f64 = 500.0;
const SLOW_START: Duration = Duration::from_secs(10);

/// What befalls the first backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trace {
    Even,
    /// It takes ten times as long for everything.
    OneSlow,
    /// So it does for every other five seconds.
    Flapping,
    /// It comes at ten seconds, and takes ten times as long for its first thousand requests.
    ColdStart,
}

#[derive(Debug, Default)]
struct Backend {
    workers_busy: usize,
    /// When those that wait came.
    queue: VecDeque<Duration>,
    in_flight: u64,
    begun: u64,
    /// In the part that is counted.
    picked: u64,
    expected: PeakEwma,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Comes,
    /// At a backend ends what came then.
    Ends(usize, Duration),
}

#[derive(Debug, Clone, Copy)]
struct Outcome {
    /// By how much the share of a backend differs from that of its speed, at most.
    load_error: f64,
    p99: Duration,
}

struct Simulation {
    trace: Trace,
    random: SmallRng,
    backends: [Backend; BACKENDS],
    events: BinaryHeap<Reverse<(Duration, What)>>,
    latencies: Vec<Duration>,
}

impl Simulation {
    fn run(policy: Policy, trace: Trace, per_second: f64, seed: u64) -> Outcome {
        let mut simulation = Self {
            trace,
            random: SmallRng::seed_from_u64(seed),
            backends: Default::default(),
            events: BinaryHeap::from([Reverse((Duration::ZERO, What::Comes))]),
            latencies: Vec::new(),
        };
        let mut turn = 0;
        while let Some(Reverse((now, what))) = simulation.events.pop() {
            match what {
                What::Comes => {
                    turn += 1;
                    let place = simulation.pick(policy, turn, now);
                    simulation.arrives(place, now);
                    let next = now + simulation.exponential(Duration::from_secs_f64(1.0 / per_second));
                    if next < LENGTH {
                        simulation.events.push(Reverse((next, What::Comes)));
                    }
                }
                What::Ends(place, came) => simulation.ends(place, came, now),
            }
        }
        simulation.outcome()
    }

    fn pick(&mut self, policy: Policy, turn: usize, now: Duration) -> usize {
        let weights: Vec<_> = (0..BACKENDS).filter_map(|place| Some((place, self.weight(place, now)?))).collect();
        let rotation = Rotation::new(&weights, Vec::new());
        let draw = Draw { turn, random: self.random.random() };
        let load = |place: usize| Load {
            in_flight: self.backends[place].in_flight,
            expected_us: self.backends[place].expected.expected_us(now),
            weight: self.weight(place, now).unwrap_or(ramp::PARTS),
        };
        rotation.pick(policy, draw, |_| true, load).unwrap()
    }

    fn weight(&self, place: usize, now: Duration) -> Option<u32> {
        if self.trace != Trace::ColdStart || place != 0 {
            return Some(ramp::PARTS);
        }
        Some(ramp::parts(now.checked_sub(SETTLED)?, SLOW_START))
    }

    fn arrives(&mut self, place: usize, now: Duration) {
        let backend = &mut self.backends[place];
        backend.in_flight += 1;
        backend.picked += u64::from(now >= SETTLED);
        backend.queue.push_back(now);
        self.begin(place, now);
    }

    fn begin(&mut self, place: usize, now: Duration) {
        let slowness = self.slowness(place, now);
        let backend = &mut self.backends[place];
        if backend.workers_busy == WORKERS {
            return;
        }
        let Some(came) = backend.queue.pop_front() else { return };
        backend.workers_busy += 1;
        backend.begun += 1;
        let takes = self.exponential(Duration::from_secs_f64(WORK_MS * slowness / 1e3));
        self.events.push(Reverse((now + takes, What::Ends(place, came))));
    }

    fn ends(&mut self, place: usize, came: Duration, now: Duration) {
        let took = now.saturating_sub(came);
        if came >= SETTLED {
            self.latencies.push(took);
        }
        let backend = &mut self.backends[place];
        backend.workers_busy -= 1;
        backend.in_flight -= 1;
        backend.expected.observe(took, now);
        self.begin(place, now);
    }

    fn slowness(&self, place: usize, now: Duration) -> f64 {
        let is_slow = match self.trace {
            Trace::Even => false,
            Trace::OneSlow => true,
            Trace::Flapping => (now.as_secs() / 5).is_multiple_of(2),
            Trace::ColdStart => self.backends[0].begun < 1_000,
        };
        if place == 0 && is_slow { SLOW } else { 1.0 }
    }

    fn exponential(&mut self, mean: Duration) -> Duration {
        let uniform: f64 = self.random.random();
        mean.mul_f64(-(1.0 - uniform).ln())
    }

    fn outcome(mut self) -> Outcome {
        self.latencies.sort_unstable();
        let all = self.latencies.len();
        // What each could take, if it has to do with a share of all.
        let speed = |place: usize| match (place, self.trace) {
            (0, Trace::OneSlow) => 1.0 / SLOW,
            (0, Trace::Flapping) => (1.0 + 1.0 / SLOW) / 2.0,
            _ => 1.0,
        };
        let speeds: f64 = (0..BACKENDS).map(speed).sum();
        let error =
            |place: usize| (self.backends[place].picked as f64 / all as f64 / (speed(place) / speeds) - 1.0).abs();
        let load_error = (0..BACKENDS).map(error).fold(0.0, f64::max);
        Outcome { load_error, p99: self.latencies[all * 99 / 100] }
    }
}

/// Each way of picking on each trace: the median of a few seeds, by the 99th percentile.
fn outcomes(trace: Trace) -> [Outcome; 3] {
    Policy::ALL.map(|policy| {
        let mut runs = SEEDS.map(|seed| Simulation::run(policy, trace, PER_SECOND, seed));
        runs.sort_by_key(|run| run.p99);
        runs[SEEDS.len() / 2]
    })
}

#[test]
fn on_equals_every_policy_shares_evenly() {
    let [in_turn, least, ewma] = outcomes(Trace::Even);
    assert!(in_turn.load_error < 0.001 && least.load_error < 0.01 && ewma.load_error < 0.15, "{least:?} {ewma:?}");
    assert!(least.p99 <= in_turn.p99.mul_f64(1.05) && ewma.p99 <= in_turn.p99.mul_f64(1.05), "{in_turn:?} {ewma:?}");
}

#[test]
fn peak_ewma_alone_hides_a_slow_backend() {
    let even = outcomes(Trace::Even)[0];
    for trace in [Trace::OneSlow, Trace::Flapping, Trace::ColdStart] {
        let [in_turn, least, ewma] = outcomes(trace);
        assert!(ewma.p99 <= even.p99.mul_f64(1.3), "{trace:?}: {ewma:?}");
        assert!(in_turn.p99 >= even.p99 * 2 && least.p99 >= even.p99 * 2, "{trace:?}: {in_turn:?} {least:?}");
    }
}

#[test]
fn the_picture_is_that_of_the_simulation() {
    let (committed, drawn) = (include_str!("../../../docs/pickers.svg"), picture::draw());
    if committed != drawn {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../target");
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(format!("{folder}/pickers.svg"), drawn).unwrap();
        panic!("look at target/pickers.svg; if it is right, it is the new docs/pickers.svg");
    }
}
