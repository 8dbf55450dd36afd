//! Which of the worker's queues are paused, for whoever looks at an idle worker. The store refuses their claims whether the worker knows or not.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use protocol::store_api::QueuePause;

use crate::metrics;

#[derive(Debug, Default)]
pub(super) struct Pauses {
    // Held for one step, never across an await.
    paused: Mutex<BTreeSet<String>>,
}

impl Pauses {
    /// These are paused, as the answer to a heartbeat says, and no others.
    pub(super) fn are(&self, queues: Vec<String>) {
        self.change(|paused| *paused = queues.into_iter().collect());
    }

    /// One was paused or resumed.
    pub(super) fn hear(&self, pause: QueuePause) {
        self.change(|paused| {
            if pause.paused {
                paused.insert(pause.queue);
            } else {
                paused.remove(&pause.queue);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<String>)) {
        let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        let before = paused.clone();
        change(&mut paused);
        for queue in paused.difference(&before) {
            tracing::info!(queue, "the queue is paused: nothing new is run from it");
            metrics::queue_paused(queue, true);
        }
        for queue in before.difference(&paused) {
            tracing::info!(queue, "the queue is resumed");
            metrics::queue_paused(queue, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_word_counts() {
        let pauses = Pauses::default();
        let pause = |queue: &str, paused| QueuePause { queue: queue.to_owned(), paused };
        let check = |expected: &[&str]| {
            let paused = pauses.paused.lock().expect("not poisoned");
            assert_eq!(paused.iter().map(String::as_str).collect::<Vec<_>>(), expected);
        };
        pauses.hear(pause("a", true));
        pauses.hear(pause("b", true));
        check(&["a", "b"]);
        pauses.hear(pause("a", false));
        pauses.hear(pause("c", false));
        check(&["b"]);
        pauses.are(vec!["c".to_owned()]);
        check(&["c"]);
        pauses.are(Vec::new());
        check(&[]);
    }
}
