//! Connections that one event loop keeps to each backend between requests.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::backend::{Backend, Member, Membership};
use crate::core::pick::Draw;
use crate::room::Room;
use crate::shared::Shared;
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
pub(crate) struct InFlight {
    pool: Rc<Pool>,
    /// Of its backend, among all members.
    place: usize,
    room: Arc<Room>,
    waits: bool,
}

/// What a request asks for when it looks for a backend.
pub(crate) struct Seeker<'a> {
    pub(crate) draw: Draw,
    pub(crate) now: Duration,
    /// It asked to wait for something, so it keeps no backend busy.
    pub(crate) waits: bool,
    /// Places of backends that have failed it.
    pub(crate) tried: &'a [usize],
}

impl Pools {
    pub(crate) fn is_of(&self, membership: &Arc<Membership>) -> bool {
        Arc::ptr_eq(&self.membership, membership)
    }

    pub(crate) fn of(membership: Arc<Membership>, idle_max: usize, idle_ms: u64) -> Pools {
        let pool = |member: &Member| Rc::new(Pool::new(Arc::clone(&member.backend), idle_max, idle_ms));
        Pools { pools: membership.members.iter().map(pool).collect(), membership }
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

    pub(crate) fn count(&self) -> usize {
        self.pools.len()
    }

    /// Takes up a request at a backend that has not failed it and has room. `Err`: whether there is one that has no room now.
    pub(crate) fn enter(&self, seeker: &Seeker<'_>, shared: &Shared) -> Result<InFlight, bool> {
        let Seeker { draw, now, waits, tried } = *seeker;
        let is_full = Cell::new(false);
        let may = |place: usize, backend: &Backend| {
            if tried.contains(&place) {
                return false;
            }
            let has_room = waits || shared.has_room(backend.counts.working());
            is_full.set(is_full.get() || !has_room);
            has_room
        };
        let place = self.membership.pick(draw, now, may);
        let entered = place.and_then(|place| InFlight::enter(self.pools.get(place)?, place, shared, waits));
        // Another loop may have been faster: then there was room a moment ago.
        entered.ok_or(is_full.get() || place.is_some())
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
    fn enter(pool: &Rc<Pool>, place: usize, shared: &Shared, waits: bool) -> Option<InFlight> {
        let counts = &pool.backend.counts;
        if waits {
            counts.waiting.fetch_add(1, Relaxed);
        }
        counts.in_flight.fetch_add(1, Relaxed);
        let in_flight = InFlight { pool: Rc::clone(pool), place, room: Arc::clone(&shared.room), waits };
        // Without itself. Dropped, it is not counted any more.
        (waits || shared.has_room(counts.working().saturating_sub(1))).then_some(in_flight)
    }

    pub(crate) fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    pub(crate) fn place(&self) -> usize {
        self.place
    }

    pub(crate) fn waits(&self) -> bool {
        self.waits
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let counts = &self.pool.backend.counts;
        counts.in_flight.fetch_sub(1, Relaxed);
        if self.waits {
            counts.waiting.fetch_sub(1, Relaxed);
        }
        self.room.free();
    }
}
