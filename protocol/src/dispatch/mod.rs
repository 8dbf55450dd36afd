//! The dispatch window: which rows get a bell in the broker, and when a bell counts as lost; whose turn it is among tenants.

pub use lane::Lane;
pub use rate::Rate;
pub use shares::{Alone, Shares, Standing};

mod lane;
mod rate;
mod shares;

/// A bell that no claim named for this long may be lost (if its queue shows so), in ms.
pub const BELL_TIMEOUT_MS: u64 = 15_000;
/// A fresh row belongs to its creator for this long, in ms; then the dispatcher rings it.
pub const CREATOR_MS: u64 = 2_000;
/// The smallest default window of a queue.
pub const WINDOW_MIN: u64 = 16;
/// After so many refusals in a row for an unknown task, the workers that know it are few.
const UNKNOWN_TASK_TRIES: u32 = 16;
/// The wait before that, in ms.
const UNKNOWN_TASK_TRY_MS: u64 = 250;
/// First and longest wait after that, in ms.
const UNKNOWN_TASK_WAIT_MS: (u64, u64) = (1_000, 15_000);

/// How many bells of a queue may be outstanding: the operator's number, or twice the live slots, at least 16.
#[must_use]
pub fn window(configured: Option<u64>, live_slots: u64) -> u64 {
    configured.unwrap_or_else(|| (2 * live_slots).max(WINDOW_MIN))
}

/// What is known of an outstanding bell when its loss is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outstanding {
    pub age_ms: u64,
    /// The broker shows no ready message in the bell's queue.
    pub queue_empty: bool,
    /// A bell that was rung after it has been named by a claim: queues are first in, first out.
    pub later_bell_claimed: bool,
}

/// Whether the bell is lost: old, and its queue has nothing (before the ones already taken) that could still be it.
#[must_use]
pub fn is_lost(bell: Outstanding) -> bool {
    bell.age_ms >= BELL_TIMEOUT_MS && (bell.queue_empty || bell.later_bell_claimed)
}

/// How long a row waits after its `refusals`-th refused claim in a row for an unknown task. A row is rung only while some worker of its
/// queue knows the task, so a refusal is the luck of the broker's turns: it soon tries again, so that a worker that has just learned a task
/// gets its first job within seconds. After 16 tries it waits 1 s, doubling to 15 s: a task that few workers know must not cost the others.
#[must_use]
pub fn unknown_task_wait_ms(refusals: u32) -> u64 {
    let Some(further) = refusals.checked_sub(UNKNOWN_TASK_TRIES + 1) else { return UNKNOWN_TASK_TRY_MS };
    let (first_ms, longest_ms) = UNKNOWN_TASK_WAIT_MS;
    first_ms.saturating_mul(1 << further.min(32)).min(longest_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_is_twice_the_slots_within_its_bound() {
        let check = |configured, slots, expected| assert_eq!(window(configured, slots), expected);
        check(None, 0, 16);
        check(None, 8, 16);
        check(None, 64, 128);
        check(Some(4), 64, 4);
    }

    #[test]
    fn bell_is_lost_only_when_old_and_not_ahead_in_its_queue() {
        let check = |age_ms, queue_empty, later_bell_claimed, expected| {
            assert_eq!(is_lost(Outstanding { age_ms, queue_empty, later_bell_claimed }), expected);
        };
        check(14_999, true, true, false);
        check(15_000, false, false, false);
        check(15_000, true, false, true);
        check(15_000, false, true, true);
    }

    #[test]
    fn unknown_task_is_soon_tried_again_then_waits_up_to_fifteen_seconds() {
        let check = |refusals, expected| assert_eq!(unknown_task_wait_ms(refusals), expected);
        check(1, 250);
        check(16, 250);
        check(17, 1_000);
        check(18, 2_000);
        check(20, 8_000);
        check(21, 15_000);
        check(u32::MAX, 15_000);
    }
}
