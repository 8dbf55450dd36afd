//! Who waits for which job's end or next change, and how far the log has been followed for them. No I/O: `follower.rs` moves the cursor.
//!
//! A waiter first takes a ticket, then reads the job. What it waits for is either in that read, or it lies behind the read's position and
//! the follower will come to it; [`Ticket::saw`] tells when neither is certain, and the job must be read again.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::Gauge;
use protocol::ids::{JobId, Place, Position};
use protocol::store_api::{Change, LogPage};
use tokio::sync::{Notify, oneshot};

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
    /// Of those who wait for an end; who streams changes is counted with the streams.
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
    until: Until,
    wake: oneshot::Sender<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    Ended,
    Changed,
}

/// One who waits. Dropped, it waits no more.
#[derive(Debug)]
pub(crate) struct Ticket {
    waiters: Waiters,
    job_id: JobId,
    id: u64,
    until: Until,
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
        self.shared.gauge.increment(1.0);
        Some(self.admit(&mut state, job_id, Until::Ended))
    }

    /// A ticket for the next change of a job. The caller bounds how many there are.
    #[must_use]
    pub(crate) fn watch(&self, job_id: JobId) -> Ticket {
        self.admit(&mut self.state(), job_id, Until::Changed)
    }

    fn admit(&self, state: &mut State, job_id: JobId, until: Until) -> Ticket {
        let (wake, woken) = oneshot::channel();
        let id = state.next_id;
        state.next_id += 1;
        state.add(job_id, Waiter { id, until, wake });
        let told_after = state.following.map(|following| following.reached.position);
        Ticket { waiters: self.clone(), job_id, id, until, woken, told_after }
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
            match &entry.change {
                Change::Job { job_id, status, .. } if status.is_terminal() => state.wake(*job_id),
                Change::Job { job_id, .. } | Change::Progress { job_id, .. } => state.wake_watching(*job_id),
                Change::Data { .. } | Change::Invalidates { .. } | Change::Queue { .. } => {}
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
            self.count -= waiter.until.counted();
            waiter.wake();
        }
    }

    /// Wakes those who want to see every change.
    fn wake_watching(&mut self, job_id: JobId) {
        let Some(waiters) = self.waiting.get_mut(&job_id) else { return };
        waiters.extract_if(.., |waiter| waiter.until == Until::Changed).for_each(Waiter::wake);
        if waiters.is_empty() {
            self.waiting.remove(&job_id);
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

impl Waiter {
    fn wake(self) {
        // One who has gone meanwhile needs no waking.
        self.wake.send(()).unwrap_or_default();
    }
}

impl Until {
    /// What one such waiter adds to the count.
    fn counted(self) -> usize {
        usize::from(self == Self::Ended)
    }
}

impl Ticket {
    #[must_use]
    pub(crate) fn job_id(&self) -> JobId {
        self.job_id
    }

    /// Says where the job was seen, if what is waited for was not seen yet. The first of all sights is where the follower begins.
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
                    if let Some(own) = own {
                        state.add(self.job_id, own);
                    }
                }
                state.following = Some(Following { from: seen.position, reached: seen });
                drop(state);
                self.waiters.shared.begun.notify_one();
                Sight::Ahead
            }
        }
    }

    /// Waits until the job has ended, or changed, or must be read again. Cancel-safe.
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
        self.count -= waiter.until.counted();
        Some(waiter)
    }

    fn add(&mut self, job_id: JobId, waiter: Waiter) {
        self.count += waiter.until.counted();
        self.waiting.entry(job_id).or_insert_with(|| Vec::with_capacity(1)).push(waiter);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.until == Until::Ended {
            self.waiters.shared.gauge.decrement(1.0);
        }
        let mut state = self.waiters.state();
        drop(state.take(self.job_id, self.id));
    }
}

#[cfg(test)]
#[path = "waiters_tests.rs"]
mod tests;
