//! What each submit of a trial is: a function of the seed and its number, so that a seed tells a trial. Pure.

use protocol::api::Priority;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use super::plan::Focus;

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
pub(super) fn errand(seed: u64, number: u64, focus: Focus) -> Errand {
    match focus {
        Focus::Everything => errand_of_everything(seed, number),
        Focus::Caches => errand_of_caches(number),
    }
}

/// Most of them void cached data, and whoever submitted them waits to be told so.
fn errand_of_caches(number: u64) -> Errand {
    let (work, then) = match number % 4 {
        0 => (Work::Short, Then::Nothing),
        _ => (Work::Invalidating, Then::Watch),
    };
    let manner = if number.is_multiple_of(2) { Manner::Keyed } else { Manner::Once };
    Errand { number, work, priority: Priority::Normal, manner, then }
}

fn errand_of_everything(seed: u64, number: u64) -> Errand {
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

    #[test]
    fn errands_are_of_every_sort() {
        assert_eq!(errand(1, 7, Focus::Everything), errand(1, 7, Focus::Everything));
        let errands: Vec<Errand> = (0..2_000).map(|number| errand(1, number, Focus::Everything)).collect();
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

    #[test]
    fn most_jobs_of_a_trial_of_the_caches_void_data_and_are_followed() {
        let errands = (0..100).map(|number| errand(1, number, Focus::Caches));
        let followed = errands.filter(|errand| errand.work == Work::Invalidating && errand.then == Then::Watch);
        assert_eq!(followed.count(), 75);
    }
}
