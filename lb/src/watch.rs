//! What a client's connection is doing and until when it may: one deadline each, looked at by the loop's tick, so that no request
//! needs a timer of its own.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use crate::config::Config;

/// A closed connection may take this long to be read by its client.
const LINGER_MS: u64 = 1_000;

/// A connection over the bound gets this long to ask for something, so that it can be told.
const REFUSED_MS: u64 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No byte has come yet.
    Opened,
    /// A head has begun.
    Head,
    /// A request is being answered; its deadline is looked at by whoever answers it.
    Busy,
    /// Between requests.
    Idle,
    /// Another protocol is spoken.
    Tunnel,
    /// Everything is said.
    Closing,
}

/// The time of one event loop, in ms since its start, as of its last tick.
#[derive(Debug, Default)]
pub(crate) struct Clock(Cell<u64>);

/// One connection's state and deadline.
#[derive(Debug)]
pub(crate) struct Watch {
    clock: Rc<Clock>,
    limits: Limits,
    phase: Cell<Phase>,
    /// On the loop's clock; 0 means none.
    until_ms: Cell<u64>,
    waker: RefCell<Option<Waker>>,
    /// The client may still be sending what nobody will read.
    unread: Cell<bool>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    head_ms: u64,
    idle_ms: u64,
    stall_ms: u64,
    answer_ms: u64,
    tunnel_ms: u64,
}

impl Clock {
    pub(crate) fn now_ms(&self) -> u64 {
        self.0.get()
    }

    pub(crate) fn set(&self, now_ms: u64) {
        self.0.set(now_ms);
    }
}

impl Watch {
    pub(crate) fn new(clock: Rc<Clock>, config: &Config, is_refused: bool) -> Watch {
        let limits = Limits {
            head_ms: if is_refused { REFUSED_MS } else { config.client_head_ms },
            idle_ms: config.client_idle_ms,
            stall_ms: config.client_stall_ms,
            answer_ms: config.backend_answer_ms,
            tunnel_ms: config.tunnel_idle_ms,
        };
        let until_ms = Cell::new(clock.now_ms() + limits.head_ms);
        let (phase, unread) = (Cell::new(Phase::Opened), Cell::new(false));
        Watch { clock, limits, phase, until_ms, waker: RefCell::new(None), unread }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn is_overdue(&self) -> bool {
        let until_ms = self.until_ms.get();
        until_ms != 0 && self.clock.now_ms() >= until_ms
    }

    /// Bytes came. The first ones of a head start its time, unless the connection is new: then it runs already.
    pub(crate) fn received(&self) {
        match self.phase.get() {
            Phase::Opened => self.phase.set(Phase::Head),
            Phase::Idle => self.enter(Phase::Head, self.limits.head_ms),
            Phase::Tunnel => self.tunnel(),
            Phase::Head | Phase::Busy | Phase::Closing => {}
        }
    }

    /// Bytes went out.
    pub(crate) fn sent(&self) {
        if self.phase.get() == Phase::Tunnel {
            self.tunnel();
        }
    }

    /// From here bytes pass both ways, and neither side may be silent for too long while the other one is.
    pub(crate) fn tunnel(&self) {
        self.enter(Phase::Tunnel, self.limits.tunnel_ms);
    }

    /// A request has come whole but for its body.
    pub(crate) fn begin(&self) {
        self.phase.set(Phase::Busy);
        self.until_ms.set(0);
    }

    /// From here the client must go on sending.
    pub(crate) fn expect_body(&self) {
        self.enter(Phase::Busy, self.limits.stall_ms);
    }

    /// From here the backend must answer.
    pub(crate) fn expect_answer(&self) {
        self.enter(Phase::Busy, self.limits.answer_ms);
    }

    /// The answer has begun; it may take as long as it takes.
    pub(crate) fn answering(&self) {
        self.until_ms.set(0);
    }

    /// The answer is over. `unread` says whether the request was not.
    pub(crate) fn end(&self, unread: bool) {
        self.unread.set(unread);
        self.enter(Phase::Idle, self.limits.idle_ms);
    }

    /// The connection is being closed; true if what the client still sends must be read first, or the reset that answers unread bytes
    /// would take the answer with it.
    pub(crate) fn close(&self) -> bool {
        if self.phase.get() == Phase::Head {
            self.unread.set(true);
        }
        self.enter(Phase::Closing, LINGER_MS);
        self.unread.get()
    }

    fn enter(&self, phase: Phase, for_ms: u64) {
        self.phase.set(phase);
        self.until_ms.set(self.clock.now_ms() + for_ms);
    }

    /// Remembers whom to wake.
    pub(crate) fn register(&self, context: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

/// The connections of one loop, by place; places are used again.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    watches: RefCell<Vec<Option<Rc<Watch>>>>,
    free: RefCell<Vec<usize>>,
}

/// Keeps a connection registered.
#[derive(Debug)]
pub(crate) struct Entry {
    registry: Rc<Registry>,
    place: usize,
}

impl Registry {
    pub(crate) fn enter(self: &Rc<Self>, watch: &Rc<Watch>) -> Entry {
        let mut watches = self.watches.borrow_mut();
        let place = self.free.borrow_mut().pop().unwrap_or(watches.len());
        if place == watches.len() {
            watches.push(None);
        }
        watches[place] = Some(Rc::clone(watch));
        Entry { registry: Rc::clone(self), place }
    }

    pub(crate) fn wake_overdue(&self) {
        self.watches.borrow().iter().flatten().filter(|watch| watch.is_overdue()).for_each(|watch| watch.wake());
    }

    pub(crate) fn wake_all(&self) {
        self.watches.borrow().iter().flatten().for_each(|watch| watch.wake());
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.watches.borrow_mut()[self.place] = None;
        self.registry.free.borrow_mut().push(self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chassis::config::Source;

    fn watch(is_refused: bool) -> (Rc<Clock>, Watch) {
        let clock = Rc::new(Clock::default());
        let config = Config::load(&Source::default()).unwrap();
        (Rc::clone(&clock), Watch::new(clock, &config, is_refused))
    }

    fn check(watch: &Watch, clock: &Clock, phase: Phase, overdue_at_ms: u64) {
        clock.set(overdue_at_ms - 1);
        assert_eq!((watch.phase(), watch.is_overdue()), (phase, false));
        clock.set(overdue_at_ms);
        assert!(watch.is_overdue(), "{phase:?} at {overdue_at_ms}");
    }

    #[test]
    fn a_head_has_its_time_from_the_connection_or_from_its_first_byte() {
        let (clock, watch) = watch(false);
        clock.set(4_000);
        watch.received();
        check(&watch, &clock, Phase::Head, 10_000);
        clock.set(9_000);
        watch.begin();
        watch.end(false);
        check(&watch, &clock, Phase::Idle, 84_000);
        clock.set(80_000);
        watch.received();
        watch.received();
        check(&watch, &clock, Phase::Head, 90_000);
    }

    #[test]
    fn a_refused_connection_has_one_second() {
        let (clock, watch) = watch(true);
        check(&watch, &clock, Phase::Opened, 1_000);
    }

    #[test]
    fn body_and_answer_have_their_own_times_and_the_rest_has_none() {
        let (clock, watch) = watch(false);
        watch.begin();
        clock.set(1_000_000);
        assert!(!watch.is_overdue());
        watch.expect_body();
        check(&watch, &clock, Phase::Busy, 1_030_000);
        watch.expect_answer();
        check(&watch, &clock, Phase::Busy, 1_090_000);
        watch.answering();
        assert!(!watch.is_overdue());
    }

    #[test]
    fn a_tunnel_may_be_silent_for_its_time_since_the_last_byte_of_either_side() {
        let (clock, watch) = watch(false);
        watch.tunnel();
        clock.set(1_000_000);
        watch.received();
        check(&watch, &clock, Phase::Tunnel, 4_600_000);
        watch.sent();
        check(&watch, &clock, Phase::Tunnel, 8_200_000);
    }

    #[test]
    fn a_close_lingers_only_if_something_may_be_unread() {
        let (_, whole) = watch(false);
        whole.begin();
        whole.end(false);
        assert!(!whole.close());
        let (_, cut) = watch(false);
        cut.begin();
        cut.end(true);
        assert!(cut.close());
        let (_, no_head) = watch(false);
        no_head.received();
        assert!(no_head.close());
    }

    #[test]
    fn places_are_used_again() {
        let registry = Rc::new(Registry::default());
        let (_, first) = watch(false);
        let first = Rc::new(first);
        let entry = registry.enter(&first);
        let second = registry.enter(&first);
        drop(entry);
        let third = registry.enter(&first);
        assert_eq!((second.place, third.place, registry.watches.borrow().len()), (1, 0, 2));
    }
}
