//! What goes wrong and when, and what each submit is: functions of the seed and nothing else, so that a seed tells a trial. Pure.

use std::time::Duration;

use protocol::api::Priority;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use super::faults::{Fault, Lane, Link, Member};

/// The share of the time for faults that come alone, in percent; the rest is for the storms.
const ALONE_PERCENT: u64 = 60;
/// More than one, to tell what a first storm costs from what each further one adds.
const STORMS: u64 = 3;
/// Between two faults of a lane in a storm, in ms.
const STORM_GAP_MS: (u64, u64) = (200, 2_500);
/// The store's wall clock decides when a delayed job is due: it is not moved so far that the trial would have to wait for it.
const STORE_STEP_S: i64 = 15;
const STEP_S: i64 = 600;

/// One fault of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strike {
    pub(super) fault: Fault,
    pub(super) lasts: Duration,
}

/// A strike of a storm; `at` counts from its begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StormStrike {
    pub(super) at: Duration,
    pub(super) strike: Strike,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    /// One after the other, each when the service has got over the one before.
    pub(super) alone: Vec<Strike>,
    /// One after the other, with a calm between them.
    pub(super) storms: Vec<Storm>,
}

/// Faults that overlap, also those of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Storm {
    pub(super) programs: Vec<StormStrike>,
    pub(super) broker: Vec<StormStrike>,
    pub(super) lasts: Duration,
}

/// The schedule for a seed and a length. Without libfaketime no clock is moved.
pub(super) fn schedule(seed: u64, length: Duration, with_clocks: bool) -> Schedule {
    let mut random = SmallRng::seed_from_u64(seed);
    let length_ms = whole_ms(length);
    let alone_ms = length_ms * ALONE_PERCENT / 100;
    let lasts = Duration::from_millis((length_ms - alone_ms) / STORMS);
    let alone = alone(&mut random, alone_ms, with_clocks);
    let mut storm = || Storm {
        programs: storm_of(Lane::Programs, &mut random, lasts, with_clocks),
        broker: storm_of(Lane::Broker, &mut random, lasts, with_clocks),
        lasts,
    };
    Schedule { alone, storms: (0..STORMS).map(|_| storm()).collect() }
}

fn alone(random: &mut SmallRng, budget_ms: u64, with_clocks: bool) -> Vec<Strike> {
    let mut faults = one_of_each_kind(random, with_clocks);
    faults.shuffle(random);
    let mut left_ms = budget_ms;
    let mut strikes = Vec::new();
    for fault in faults {
        let strike = strike(fault, random);
        let costs_ms = whole_ms(strike.lasts) + fault.costs_ms();
        if costs_ms <= left_ms {
            left_ms -= costs_ms;
            strikes.push(strike);
        }
    }
    strikes
}

fn storm_of(lane: Lane, random: &mut SmallRng, length: Duration, with_clocks: bool) -> Vec<StormStrike> {
    let mut strikes: Vec<StormStrike> = Vec::new();
    let mut at = between(random, STORM_GAP_MS);
    while at < length {
        let mut faults = one_of_each_kind(random, with_clocks);
        faults.retain(|fault| fault.lane() == lane);
        faults.shuffle(random);
        let is_free = |fault: &Fault| {
            let last = strikes.iter().rev().find(|before| before.strike.fault.touches() == fault.touches());
            last.is_none_or(|before| before.at + before.strike.lasts < at)
        };
        let fits = |strike: &Strike| at + strike.lasts <= length;
        let drawn = faults.into_iter().find(is_free).map(|fault| strike(fault, random)).filter(fits);
        strikes.extend(drawn.map(|strike| StormStrike { at, strike }));
        at += between(random, STORM_GAP_MS);
    }
    strikes
}

fn strike(fault: Fault, random: &mut SmallRng) -> Strike {
    Strike { fault, lasts: between(random, fault.lasts_ms()) }
}

/// Every kind of fault once, each at a place drawn for it.
fn one_of_each_kind(random: &mut SmallRng, with_clocks: bool) -> Vec<Fault> {
    let gateway = pick(random, &Member::GATEWAYS);
    let worker = pick(random, &Member::WORKERS);
    let link = pick(random, &Link::ALL);
    let to_broker = pick(random, &Link::TO_BROKER);
    let mut faults = vec![
        Fault::Kill(gateway),
        Fault::Kill(worker),
        Fault::Kill(Member::StoreSvc),
        Fault::Kill(pick(random, &[Member::CacheSvc, Member::Lb])),
        Fault::Pause(worker),
        Fault::Pause(pick(random, &[gateway, Member::StoreSvc, Member::CacheSvc, Member::Lb])),
        Fault::Reset(link),
        Fault::BlackHole(to_broker),
        Fault::BlackHole(pick(random, &Link::ALL)),
        Fault::Deaf(pick(random, &Link::ALL)),
        Fault::Slow(pick(random, &Link::ALL)),
        Fault::LostConfirms(pick(random, &[Link::GatewayBroker, Link::StoreBroker])),
        Fault::CutPublish(pick(random, &[Link::GatewayBroker, Link::StoreBroker])),
        Fault::CutDelivery(Link::WorkerBroker),
        Fault::MemoryAlarm,
        Fault::DiskAlarm,
        Fault::PurgedQueue,
        Fault::DeletedQueue,
        Fault::ClosedConnections,
        Fault::BrokerKilled,
        Fault::BrokerRestarted,
        Fault::BrokerPaused,
        Fault::BrokerWiped,
    ];
    let member = pick(random, &[gateway, worker, Member::CacheSvc, Member::StoreSvc]);
    let furthest_s = if member == Member::StoreSvc { STORE_STEP_S } else { STEP_S };
    let ahead = random.random_bool(0.5);
    if with_clocks {
        faults.push(Fault::ClockStep(member, if ahead { furthest_s } else { -furthest_s }));
    }
    faults
}

fn pick<T: Copy>(random: &mut SmallRng, from: &[T]) -> T {
    from[random.random_range(0..from.len())]
}

fn between(random: &mut SmallRng, (from, to): (u64, u64)) -> Duration {
    Duration::from_millis(random.random_range(from..=to))
}

pub(super) fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Noop,
    /// Simulated, for so long.
    Short,
    /// A program that writes down when it runs.
    Command,
    /// A program that runs through most faults.
    LongCommand,
    /// Its first attempt fails.
    Flaky,
    /// Due later.
    Delayed,
    /// Voids cached data when it ends.
    Invalidating,
}

impl Work {
    /// Names its task, before the number of the submit.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Noop => "noop",
            Self::Short => "short",
            Self::Command => "command",
            Self::LongCommand => "long",
            Self::Flaky => "flaky",
            Self::Delayed => "delayed",
            Self::Invalidating => "invalidating",
        }
    }
}

/// How a job is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Once, without a name: an answer that is lost stays unknown.
    Once,
    /// With an idempotency key, until it is accepted.
    Keyed,
    /// Under an id of its own, until it is accepted.
    Put(Uuid),
    /// Once, and the answer waits for the job's end.
    Waiting,
}

/// What the client does with an accepted job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Nothing,
    /// Waits for its end.
    Watch,
    /// Cancels it, looks what became of it, and opens another run if it was cancelled.
    CancelAndRetry,
    /// Submits it again, although it was accepted.
    Repeat,
}

/// One submit of the trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Errand {
    pub(super) number: u64,
    pub(super) work: Work,
    pub(super) priority: Priority,
    pub(super) manner: Manner,
    pub(super) then: Then,
}

/// The submit of this number.
pub(super) fn errand(seed: u64, number: u64) -> Errand {
    let mut random = SmallRng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let work = match random.random_range(0..100) {
        0..40 => Work::Noop,
        40..65 => Work::Short,
        65..80 => Work::Command,
        80..81 => Work::LongCommand,
        81..88 => Work::Flaky,
        88..95 => Work::Delayed,
        _ => Work::Invalidating,
    };
    let id = uuid::Builder::from_random_bytes(random.random()).into_uuid();
    let manner = match random.random_range(0..100) {
        0..45 => Manner::Once,
        45..75 => Manner::Keyed,
        75..90 => Manner::Put(id),
        _ => Manner::Waiting,
    };
    let then = match random.random_range(0..100) {
        0..60 => Then::Nothing,
        60..80 => Then::Watch,
        80..90 => Then::CancelAndRetry,
        _ if matches!(manner, Manner::Keyed | Manner::Put(_)) => Then::Repeat,
        _ => Then::Nothing,
    };
    Errand { number, work, priority: Priority::Normal, manner, then }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(150);

    #[test]
    fn seed_and_length_alone_decide_the_schedule() {
        for seed in 0..50 {
            let first = schedule(seed, LENGTH, true);
            assert_eq!(first, schedule(seed, LENGTH, true));
            assert_ne!(first, schedule(seed + 1, LENGTH, true));
            assert_eq!(errand(seed, 7), errand(seed, 7));
        }
    }

    #[test]
    fn schedule_of_a_seed_stays_what_it_was() {
        let schedule = schedule(7, Duration::from_secs(60), false);
        let alone: Vec<String> = schedule.alone.iter().map(|strike| strike.fault.to_string()).collect();
        assert_eq!(alone, SEED_7);
    }

    /// When this changes, a seed of an older version no longer tells the same trial: say so where seeds are published.
    const SEED_7: [&str; 4] =
        ["lb killed", "broker killed", "broker: queue purged", "gateway to broker: cut inside a publish"];

    #[test]
    fn storm_never_strikes_the_same_place_twice_at_a_time_and_ends_in_time() {
        for seed in 0..200 {
            let storms = schedule(seed, LENGTH, true).storms;
            let lanes =
                storms.iter().flat_map(|Storm { programs, broker, lasts }| [(programs, lasts), (broker, lasts)]);
            for (strikes, lasts) in lanes {
                assert!(!strikes.is_empty(), "seed {seed}");
                for (place, later) in strikes.iter().enumerate() {
                    assert!(later.at + later.strike.lasts <= *lasts, "seed {seed}: {later:?}");
                    let touched = later.strike.fault.touches();
                    let before = strikes[..place].iter().filter(|before| before.strike.fault.touches() == touched);
                    assert!(
                        before.into_iter().all(|before| before.at + before.strike.lasts <= later.at),
                        "seed {seed}"
                    );
                }
            }
        }
    }

    #[test]
    fn ten_seeds_strike_with_everything() {
        let kind =
            |fault: Fault| fault.to_string().split(|letter: char| letter.is_ascii_digit()).next().map(str::to_owned);
        let all: BTreeSet<_> = (0..10)
            .flat_map(|seed| {
                let Schedule { alone, storms } = schedule(seed, LENGTH, true);
                let strikes = storms.into_iter().flat_map(|storm| storm.programs.into_iter().chain(storm.broker));
                let in_storms = strikes.map(|strike| strike.strike.fault);
                alone.into_iter().map(|strike| strike.fault).chain(in_storms).filter_map(kind).collect::<Vec<_>>()
            })
            .collect();
        for expected in
            ["broker wiped", "broker killed", "store-svc killed", "broker: disk alarm", "broker: queue purged"]
        {
            assert!(all.contains(expected), "{expected} is not in {all:?}");
        }
    }

    #[test]
    fn errands_are_of_every_sort() {
        let errands: Vec<Errand> = (0..2_000).map(|number| errand(1, number)).collect();
        for work in [Work::Noop, Work::Command, Work::LongCommand, Work::Flaky, Work::Delayed, Work::Invalidating] {
            assert!(errands.iter().any(|errand| errand.work == work), "{work:?}");
        }
        let ids: BTreeSet<_> = errands
            .iter()
            .filter_map(|errand| if let Manner::Put(id) = errand.manner { Some(id) } else { None })
            .collect();
        assert!(
            ids.len() > 200
                && errands.iter().filter(|errand| matches!(errand.manner, Manner::Put(_))).count() == ids.len()
        );
        assert!(errands.iter().any(|errand| errand.then == Then::CancelAndRetry));
    }
}
