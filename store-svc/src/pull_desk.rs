//! Workers that wait for a job to pull. Each row that begins to wait wakes one of them that knows its task, first come, first served: a
//! thousand idle workers must not all look for each job.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::key::{QueueName, TaskPattern};
use protocol::store_api::Pull;
use tokio::sync::Notify;

use crate::storage::Offer;

#[derive(Clone, Debug, Default)]
pub(crate) struct PullDesk {
    // Held for one step, never across an await.
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// In the order in which they came.
    workers: BTreeMap<u64, Worker>,
}

#[derive(Debug)]
struct Worker {
    queues: Vec<QueueName>,
    tasks: Vec<TaskPattern>,
    /// What it was woken for and has not looked for yet.
    woken_for: Option<Offer>,
    news: Arc<Notify>,
}

impl Worker {
    fn wants(&self, offer: &Offer) -> bool {
        self.woken_for.is_none()
            && self.queues.iter().any(|queue| queue.as_str() == offer.queue)
            && self.tasks.iter().any(|pattern| pattern.matches(&offer.task))
    }
}

/// A worker's place among those that wait. Whatever it was woken for and did not look for goes to the next one when it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    desk: PullDesk,
    number: u64,
    news: Arc<Notify>,
}

impl PullDesk {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues up. Whoever looks for jobs only then misses nothing that comes after its look.
    pub(crate) fn queue_up(&self, pull: &Pull) -> Ticket {
        let news = Arc::new(Notify::new());
        let (queues, tasks) = (pull.queues.clone(), pull.tasks.clone());
        let mut waiting = self.waiting();
        let number = waiting.next;
        waiting.next += 1;
        waiting.workers.insert(number, Worker { queues, tasks, woken_for: None, news: Arc::clone(&news) });
        Ticket { desk: self.clone(), number, news }
    }

    pub(crate) fn offer(&self, offers: Vec<Offer>) {
        if offers.is_empty() {
            return;
        }
        let mut waiting = self.waiting();
        offers.into_iter().for_each(|offer| waiting.offer(offer));
    }

    /// Many rows may wait in these queues: all who pull from them look.
    pub(crate) fn resume(&self, queues: &[String]) {
        if queues.is_empty() {
            return;
        }
        let resumed =
            |worker: &&Worker| worker.queues.iter().any(|queue| queues.iter().any(|name| name == queue.as_str()));
        self.waiting().workers.values().filter(resumed).for_each(|worker| worker.news.notify_one());
    }
}

impl Waiting {
    fn offer(&mut self, offer: Offer) {
        if let Some(worker) = self.workers.values_mut().find(|worker| worker.wants(&offer)) {
            worker.woken_for = Some(offer);
            worker.news.notify_one();
        }
    }
}

impl Ticket {
    /// Waits until there is something to look for. Cancel-safe.
    pub(crate) async fn woken(&self) {
        self.news.notified().await;
    }

    /// It looks now: from here on it may be woken again.
    pub(crate) fn look(&self) {
        if let Some(worker) = self.desk.waiting().workers.get_mut(&self.number) {
            worker.woken_for = None;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut waiting = self.desk.waiting();
        let left = waiting.workers.remove(&self.number).and_then(|worker| worker.woken_for);
        if let Some(offer) = left {
            waiting.offer(offer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use protocol::ids::{ClaimId, SessionId};

    fn pull(tasks: &[&str]) -> Pull {
        Pull {
            session: SessionId::generate(),
            worker: "w".try_into().expect("a name"),
            queues: vec!["default".try_into().expect("a queue")],
            tasks: tasks.iter().map(|task| (*task).to_owned().try_into().expect("a pattern")).collect(),
            limit: 1,
            lease_ms: 15_000,
            claim_id: ClaimId::generate(),
        }
    }

    fn offer(desk: &PullDesk, queue: &str, task: &str) {
        desk.offer(vec![Offer { queue: queue.to_owned(), task: task.to_owned() }]);
    }

    fn is_woken(ticket: &Ticket) -> bool {
        ticket.woken().now_or_never().is_some()
    }

    #[test]
    fn one_row_wakes_the_first_that_knows_it() {
        let desk = PullDesk::default();
        let [other, first, second] = [pull(&["b"]), pull(&["a*"]), pull(&["a1"])].map(|pull| desk.queue_up(&pull));
        offer(&desk, "reports", "a1");
        assert!(![&other, &first, &second].into_iter().any(is_woken));
        offer(&desk, "default", "a1");
        assert_eq!([&other, &first, &second].map(is_woken), [false, true, false]);
        offer(&desk, "default", "a1");
        assert_eq!([&other, &first, &second].map(is_woken), [false, false, true], "the first has not looked yet");
        first.look();
        offer(&desk, "default", "a1");
        assert_eq!([&other, &first, &second].map(is_woken), [false, true, false]);
    }

    #[test]
    fn a_queue_that_is_resumed_wakes_all_who_pull_from_it() {
        let desk = PullDesk::default();
        let [first, second] = [pull(&["a"]), pull(&["b"])].map(|pull| desk.queue_up(&pull));
        desk.resume(&["reports".to_owned()]);
        assert_eq!([&first, &second].map(is_woken), [false, false]);
        desk.resume(&["default".to_owned()]);
        assert_eq!([&first, &second].map(is_woken), [true, true]);
    }

    #[test]
    fn what_a_worker_was_woken_for_goes_on_when_it_leaves() {
        let desk = PullDesk::default();
        let [first, second] = [(); 2].map(|()| desk.queue_up(&pull(&["a"])));
        offer(&desk, "default", "a");
        drop(first);
        assert!(is_woken(&second));
        second.look();
        drop(second);
        assert!(desk.waiting().workers.is_empty());
    }
}
