//! Connections that one event loop keeps to each backend between requests.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::backend::{Backend, Membership};
use crate::upstream::Upstream;

/// One backend as one event loop sees it.
pub(crate) struct Pool {
    pub(crate) backend: Arc<Backend>,
    /// Used last, used next: what is not needed grows old together.
    idle: RefCell<Vec<Upstream>>,
    idle_max: usize,
    idle_ms: u64,
}

/// The pools of one event loop, in the order of a membership.
pub(crate) struct Pools {
    membership: Arc<Membership>,
    pools: Vec<Rc<Pool>>,
}

/// Counts a request as being answered by a backend, for as long as it lives.
pub(crate) struct InFlight(Rc<Pool>);

impl Pools {
    pub(crate) fn is_of(&self, membership: &Arc<Membership>) -> bool {
        Arc::ptr_eq(&self.membership, membership)
    }

    pub(crate) fn of(membership: Arc<Membership>, idle_max: usize, idle_ms: u64) -> Pools {
        let pool = |backend: &Arc<Backend>| Rc::new(Pool::new(Arc::clone(backend), idle_max, idle_ms));
        Pools { pools: membership.backends.iter().map(pool).collect(), membership }
    }

    /// The pools of another membership; of those that remain, the same. Connections to unhealthy ones are closed: who does not
    /// answer checks is not asked on old connections either.
    pub(crate) fn changed_to(&self, membership: Arc<Membership>, idle_max: usize, idle_ms: u64) -> Pools {
        let mut next = Pools::of(membership, idle_max, idle_ms);
        for (place, pool) in next.pools.iter_mut().enumerate() {
            if let Some(known) = self.pools.iter().find(|known| Arc::ptr_eq(&known.backend, &pool.backend)) {
                *pool = Rc::clone(known);
            }
            if !next.membership.is_healthy(place) {
                pool.idle.borrow_mut().clear();
            }
        }
        next
    }

    /// The backend for an attempt; see [`crate::pick::backend`].
    pub(crate) fn pick(&self, turn: usize, attempt: usize) -> Option<&Rc<Pool>> {
        self.membership.pick(turn, attempt).and_then(|place| self.pools.get(place))
    }

    /// Closes what is too old or was closed by the backend.
    pub(crate) fn sweep(&self, now_ms: u64) {
        for pool in &self.pools {
            pool.idle.borrow_mut().retain_mut(|upstream| !pool.is_old(upstream, now_ms) && upstream.is_reusable());
        }
    }
}

impl Pool {
    fn new(backend: Arc<Backend>, idle_max: usize, idle_ms: u64) -> Pool {
        Pool { backend, idle: RefCell::default(), idle_max, idle_ms }
    }

    pub(crate) fn take(&self, now_ms: u64) -> Option<Upstream> {
        let mut idle = self.idle.borrow_mut();
        let upstream = idle.pop()?;
        if self.is_old(&upstream, now_ms) {
            // The others are older still.
            idle.clear();
            return None;
        }
        Some(upstream)
    }

    /// Keeps a connection for the next request, if it can serve one.
    pub(crate) fn put(&self, mut upstream: Upstream, now_ms: u64) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.idle_max && upstream.is_reusable() {
            upstream.is_kept = true;
            upstream.idle_since_ms = now_ms;
            idle.push(upstream);
        }
    }

    fn is_old(&self, upstream: &Upstream, now_ms: u64) -> bool {
        now_ms >= upstream.idle_since_ms + self.idle_ms
    }
}

impl InFlight {
    pub(crate) fn enter(pool: &Rc<Pool>) -> InFlight {
        pool.backend.counts.in_flight.fetch_add(1, Relaxed);
        InFlight(Rc::clone(pool))
    }

    pub(crate) fn pool(&self) -> &Rc<Pool> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.backend.counts.in_flight.fetch_sub(1, Relaxed);
    }
}
