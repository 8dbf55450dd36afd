//! What came to each queue and went from it within the last minute, counted in steps of a second. It begins anew with the process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::queue::{FLOW_WINDOW_MS, Flow};

const STEP_MS: u64 = 1_000;

#[derive(Debug, Default)]
pub(crate) struct Flows {
    // Held for one step, never across an await.
    queues: Mutex<HashMap<String, Lately>>,
}

/// Steps in order, each with the time at which it began; only those in which something happened.
#[derive(Debug, Default)]
struct Lately {
    steps: VecDeque<(u64, Flow)>,
}

impl Flows {
    fn queues(&self) -> MutexGuard<'_, HashMap<String, Lately>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `now_ms` is monotonic.
    pub(crate) fn add(&self, flows: BTreeMap<String, Flow>, now_ms: u64) {
        if flows.is_empty() {
            return;
        }
        let mut queues = self.queues();
        for (queue, flow) in flows {
            queues.entry(queue).or_default().add(&flow, now_ms);
        }
    }

    pub(crate) fn last_minute(&self, queue: &str, now_ms: u64) -> Flow {
        self.queues().get_mut(queue).map(|lately| lately.sum(now_ms)).unwrap_or_default()
    }
}

impl Lately {
    fn add(&mut self, flow: &Flow, now_ms: u64) {
        let step_ms = now_ms - now_ms % STEP_MS;
        match self.steps.back_mut() {
            Some((began_ms, sum)) if *began_ms == step_ms => sum.add(flow),
            _ => {
                self.forget(now_ms);
                self.steps.push_back((step_ms, *flow));
            }
        }
    }

    fn sum(&mut self, now_ms: u64) -> Flow {
        self.forget(now_ms);
        let mut sum = Flow::default();
        self.steps.iter().for_each(|(_, flow)| sum.add(flow));
        sum
    }

    fn forget(&mut self, now_ms: u64) {
        while self.steps.front().is_some_and(|(began_ms, _)| now_ms.saturating_sub(*began_ms) > FLOW_WINDOW_MS) {
            self.steps.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_remembered() {
        let flows = Flows::default();
        let one = || BTreeMap::from([("q".to_owned(), Flow { arrived: 1, ..Flow::default() })]);
        for now_ms in [10_000, 10_900, 11_000, 60_000] {
            flows.add(one(), now_ms);
        }
        let check = |now_ms: u64, expected: u64| assert_eq!(flows.last_minute("q", now_ms).arrived, expected);
        check(60_000, 4);
        check(70_000, 4);
        check(70_001, 2);
        check(71_001, 1);
        check(120_001, 0);
        assert_eq!(flows.last_minute("other", 0), Flow::default());
    }

    #[test]
    fn what_is_kept_does_not_grow() {
        let mut lately = Lately::default();
        for now_ms in (0..600_000).step_by(100) {
            lately.add(&Flow { started: 1, ..Flow::default() }, now_ms);
        }
        assert!(lately.steps.len() <= 62, "{}", lately.steps.len());
    }
}
