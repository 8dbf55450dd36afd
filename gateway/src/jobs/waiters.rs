//! Who waits for which job's end, and how far the log has been followed for them. No I/O: `follower.rs` moves the cursor.
//!
//! A waiter first takes a ticket, then reads the job. The job's end is either in that read, or it lies behind the read's position and the
//! follower will come to it; [`Ticket::saw`] tells when neither is certain, and the job must be read again.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::Gauge;
use protocol::ids::{Incarnation, JobId, Position};
use protocol::store_api::{Change, LogPage};
use tokio::sync::{Notify, oneshot};

/// A place in one history of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) incarnation: Incarnation,
    pub(crate) position: Position,
}

/// All who wait at this gateway. Clones share them.
#[derive(Clone)]
pub(crate) struct Waiters {
    shared: Arc<Shared>,
}

struct Shared {
    waiters_max: usize,
    gauge: Gauge,
    /// Held for one step, never across an await.
    state: Mutex<State>,
    /// There is a place to follow from.
    begun: Notify,
}

impl fmt::Debug for Waiters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiters").field("count", &self.state().count).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<JobId, Vec<Waiter>>,
    count: usize,
    next_id: u64,
    following: Option<Following>,
}

#[derive(Clone, Copy, Debug)]
struct Following {
    /// Where it began: nobody has been told of anything before it.
    from: Position,
    /// Everything up to here has been told.
    reached: Place,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    wake: oneshot::Sender<()>,
}

/// One who waits. Dropped, it waits no more.
#[derive(Debug)]
pub(crate) struct Ticket {
    waiters: Waiters,
    job_id: JobId,
    id: u64,
    woken: oneshot::Receiver<()>,
    /// How far the follower was when the ticket was taken: of what came before, its holder is not told.
    told_after: Option<Position>,
}

/// What a read that shows an unfinished job is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// The end lies ahead of the follower: it will wake the ticket.
    Ahead,
    /// The follower was further than the read: the end may lie between the two.
    ReadAgain,
}

impl Waiters {
    #[must_use]
    pub(crate) fn new(waiters_max: usize) -> Self {
        let gauge = metrics::gauge!("longshore_waiters", "program" => "gateway");
        let shared = Shared { waiters_max, gauge, state: Mutex::default(), begun: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// A ticket for the end of a job; `None` when all places are taken.
    #[must_use]
    pub(crate) fn register(&self, job_id: JobId) -> Option<Ticket> {
        let mut state = self.state();
        if state.count >= self.shared.waiters_max {
            return None;
        }
        let (wake, woken) = oneshot::channel();
        let id = state.next_id;
        state.next_id += 1;
        state.count += 1;
        state.waiting.entry(job_id).or_insert_with(|| Vec::with_capacity(1)).push(Waiter { id, wake });
        self.shared.gauge.increment(1.0);
        let told_after = state.following.map(|following| following.reached.position);
        Some(Ticket { waiters: self.clone(), job_id, id, woken, told_after })
    }

    /// Waits until somebody waits, and says from where to follow.
    pub(crate) async fn place(&self) -> Place {
        loop {
            let begun = self.shared.begun.notified();
            if let Some(following) = self.state().following {
                return following.reached;
            }
            begun.await;
        }
    }

    /// Tells what a page of the log says, which was asked for from `after`.
    pub(crate) fn told(&self, after: Place, page: &LogPage) {
        let mut state = self.state();
        if state.following.map(|following| following.reached) != Some(after) {
            return;
        }
        if page.incarnation != after.incarnation {
            state.wake_all();
            return;
        }
        for entry in &page.entries {
            if let Change::Job { job_id, status, .. } = &entry.change
                && status.is_terminal()
            {
                state.wake(*job_id);
            }
        }
        if state.waiting.is_empty() {
            state.following = None;
        } else if let Some(following) = &mut state.following {
            following.reached.position = page.position.max(after.position);
        }
    }

    /// The log before `after` is gone, or it is another log: nobody can be told what happened there, so all read again.
    pub(crate) fn lost(&self, after: Place) {
        let mut state = self.state();
        if state.following.map(|following| following.reached) == Some(after) {
            state.wake_all();
        }
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.state().count
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&mut self, job_id: JobId) {
        for waiter in self.waiting.remove(&job_id).unwrap_or_default() {
            self.count -= 1;
            // One who has gone meanwhile needs no waking.
            waiter.wake.send(()).unwrap_or_default();
        }
    }

    fn wake_all(&mut self) {
        let jobs: Vec<JobId> = self.waiting.keys().copied().collect();
        for job_id in jobs {
            self.wake(job_id);
        }
        self.following = None;
    }
}

impl Ticket {
    #[must_use]
    pub(crate) fn job_id(&self) -> JobId {
        self.job_id
    }

    /// Says where the job was seen unfinished. The first of all sights is where the follower begins.
    pub(crate) fn saw(&self, seen: Place) -> Sight {
        let mut state = self.waiters.state();
        match state.following {
            Some(following) if following.reached.incarnation == seen.incarnation => {
                let told_after = self.told_after.unwrap_or(following.from);
                if seen.position >= told_after { Sight::Ahead } else { Sight::ReadAgain }
            }
            following => {
                if following.is_some() {
                    // Another history: what the others saw says nothing about it.
                    let own = state.take(self.job_id, self.id);
                    state.wake_all();
                    state.put_back(self.job_id, own);
                }
                state.following = Some(Following { from: seen.position, reached: seen });
                drop(state);
                self.waiters.shared.begun.notify_one();
                Sight::Ahead
            }
        }
    }

    /// Waits until the job has ended or must be read again. Cancel-safe.
    pub(crate) async fn woken(&mut self) {
        // A sender that is gone has woken, too.
        drop((&mut self.woken).await);
    }
}

impl State {
    fn take(&mut self, job_id: JobId, id: u64) -> Option<Waiter> {
        let waiters = self.waiting.get_mut(&job_id)?;
        let index = waiters.iter().position(|waiter| waiter.id == id)?;
        let waiter = waiters.swap_remove(index);
        if waiters.is_empty() {
            self.waiting.remove(&job_id);
        }
        self.count -= 1;
        Some(waiter)
    }

    fn put_back(&mut self, job_id: JobId, waiter: Option<Waiter>) {
        if let Some(waiter) = waiter {
            self.count += 1;
            self.waiting.entry(job_id).or_default().push(waiter);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.waiters.shared.gauge.decrement(1.0);
        let mut state = self.waiters.state();
        drop(state.take(self.job_id, self.id));
    }
}

#[cfg(test)]
#[path = "waiters_tests.rs"]
mod tests;
