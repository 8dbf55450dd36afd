//! What a client's connection is doing and until when it may: one deadline each, looked at by the loop's tick, so that no request
//! needs a timer of its own.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use tokio::time::Instant;

use crate::config::Config;
use crate::core::pace::{Pace, Terms};

/// A closed connection may take this long to be read by its client.
const LINGER_MS: u64 = 1_000;

/// After this long without a request, a connection gives up what the next one needs.
const REST_MS: u64 = 1_000;

/// A connection over the bound gets this long to ask for something, so that it can be told.
const REFUSED_MS: u64 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No byte has come yet.
    Opened,
    /// A head has begun.
    Head,
    /// A request waits for its answer; its deadline is looked at by whoever fetches it.
    Busy,
    /// The answer has begun, and passes as fast as the client takes it.
    Answering,
    /// Between requests of HTTP/1.1: the next bytes are a head.
    Idle,
    /// Between requests of HTTP/2: the next bytes may be anything.
    Kept,
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
    /// The last write has to be made again, so somebody still has something to say.
    is_stuck: Cell<bool>,
    /// When it may rest; 0 means that it does not come to that.
    rest_ms: Cell<u64>,
    waker: RefCell<Option<Waker>>,
    /// The client may still be sending what nobody will read.
    unread: Cell<bool>,
    /// Of the answer.
    pace: RefCell<Pace>,
    /// When the head began, if anybody will ask.
    head_since: Cell<Option<Instant>>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    head_ms: u64,
    idle_ms: u64,
    terms: Terms,
    answer_ms: u64,
    tunnel_ms: u64,
    is_timed: bool,
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
            terms: Terms { stall_ms: config.client_stall_ms, bytes_per_s_min: config.client_bytes_per_s_min },
            answer_ms: config.backend_answer_ms,
            tunnel_ms: config.tunnel_idle_ms,
            is_timed: config.access_log,
        };
        let until_ms = clock.now_ms() + limits.head_ms;
        Watch::in_phase(clock, limits, Phase::Opened, until_ms)
    }

    /// That of a request of HTTP/2, which has a deadline of its own beside that of its connection.
    pub(crate) fn of_stream(&self) -> Watch {
        Watch::in_phase(Rc::clone(&self.clock), self.limits, Phase::Busy, 0)
    }

    fn in_phase(clock: Rc<Clock>, limits: Limits, phase: Phase, until_ms: u64) -> Watch {
        Watch {
            until_ms: Cell::new(until_ms),
            clock,
            limits,
            is_stuck: Cell::new(false),
            rest_ms: Cell::new(0),
            phase: Cell::new(phase),
            waker: RefCell::default(),
            unread: Cell::new(false),
            pace: RefCell::default(),
            head_since: Cell::new(None),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn is_overdue(&self) -> bool {
        let until_ms = self.until_ms.get();
        until_ms != 0 && self.clock.now_ms() >= until_ms
    }

    /// Whether it has been between requests for a while.
    pub(crate) fn may_rest(&self) -> bool {
        let rest_ms = self.rest_ms.get();
        rest_ms != 0 && self.clock.now_ms() >= rest_ms && !self.is_stuck.get()
    }

    /// It rests, or is about to do something.
    pub(crate) fn rest_no_further(&self) {
        self.rest_ms.set(0);
    }

    /// Bytes came. The first ones of a head start its time, unless the connection is new: then it runs already.
    pub(crate) fn received(&self) {
        match self.phase.get() {
            Phase::Opened => self.phase.set(Phase::Head),
            Phase::Idle => {
                self.rest_no_further();
                self.enter(Phase::Head, self.limits.head_ms);
            }
            Phase::Tunnel => return self.tunnel(),
            Phase::Head | Phase::Busy | Phase::Answering | Phase::Kept | Phase::Closing => return,
        }
        if self.limits.is_timed {
            self.head_since.set(Some(Instant::now()));
        }
    }

    /// When the head began that is complete now, if it took any time.
    pub(crate) fn take_head_since(&self) -> Option<Instant> {
        self.head_since.take()
    }

    /// Bytes went out, or could not yet.
    pub(crate) fn sent(&self, could: bool) {
        self.stuck(!could);
        if could && self.phase.get() == Phase::Tunnel {
            self.tunnel();
        }
    }

    pub(crate) fn stuck(&self, is_stuck: bool) {
        self.is_stuck.set(is_stuck);
    }

    /// From here bytes pass both ways, and neither side may be silent for too long while the other one is.
    pub(crate) fn tunnel(&self) {
        self.enter(Phase::Tunnel, self.limits.tunnel_ms);
    }

    /// A request has come whole but for its body.
    pub(crate) fn begin(&self) {
        self.phase.set(Phase::Busy);
        self.until_ms.set(0);
        self.rest_no_further();
    }

    /// The client must go on sending, as the pace of its body has it.
    pub(crate) fn expect_body(&self, pace: &mut Pace) {
        let until_ms = pace.wait(self.clock.now_ms(), self.limits.terms);
        if self.phase.get() == Phase::Busy {
            self.until_ms.set(until_ms);
        }
    }

    /// Some of the body has come.
    pub(crate) fn came(&self, pace: &mut Pace, bytes: usize) {
        pace.pass(self.clock.now_ms(), bytes);
    }

    /// From here the backend must answer, or take what it is sent.
    pub(crate) fn expect_answer(&self) {
        if self.phase.get() == Phase::Busy {
            self.enter(Phase::Busy, self.limits.answer_ms);
        }
    }

    /// The answer has begun; the backend may take as long as it takes.
    pub(crate) fn answering(&self) {
        self.phase.set(Phase::Answering);
        self.until_ms.set(0);
        self.pace.replace(Pace::default());
    }

    /// The client has to take so many bytes of the answer before it gets more.
    pub(crate) fn given(&self, bytes: usize) {
        let (mut pace, now_ms) = (self.pace.borrow_mut(), self.clock.now_ms());
        pace.pass(now_ms, bytes);
        self.until_ms.set(pace.wait(now_ms, self.limits.terms));
    }

    /// It has room for more.
    pub(crate) fn taken(&self) {
        self.pace.borrow_mut().pass(self.clock.now_ms(), 0);
        self.until_ms.set(0);
    }

    /// The answer is over. `unread` says whether the request was not.
    pub(crate) fn end(&self, unread: bool) {
        self.unread.set(unread);
        self.enter(Phase::Idle, self.limits.idle_ms);
        self.rest_ms.set(self.clock.now_ms() + REST_MS);
    }

    /// The last request of a connection of HTTP/2 is over.
    pub(crate) fn keep(&self) {
        self.enter(Phase::Kept, self.limits.idle_ms);
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

    /// Wakes whoever has to know of the time, among so many places from this one on. `false`: there are no more.
    pub(crate) fn wake_overdue(&self, from: usize, count: usize) -> bool {
        let has_to_know = |watch: &&Rc<Watch>| watch.is_overdue() || watch.may_rest();
        let watches = self.watches.borrow();
        let (_, rest) = watches.split_at(from.min(watches.len()));
        rest.iter().take(count).flatten().filter(has_to_know).for_each(|watch| watch.wake());
        rest.len() > count
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
        let mut pace = Pace::default();
        watch.expect_body(&mut pace);
        check(&watch, &clock, Phase::Busy, 1_030_000);
        watch.expect_answer();
        check(&watch, &clock, Phase::Busy, 1_090_000);
        watch.answering();
        assert!(!watch.is_overdue());
        // What the client still sends has no say in the answer's time.
        watch.expect_body(&mut pace);
        assert!(!watch.is_overdue());
    }

    #[test]
    fn an_answer_waits_for_its_client_for_as_long_as_for_a_body() {
        let (clock, watch) = watch(false);
        watch.begin();
        watch.answering();
        clock.set(1_000_000);
        watch.given(10_000);
        check(&watch, &clock, Phase::Answering, 1_030_000);
        watch.taken();
        clock.set(9_000_000);
        assert!(!watch.is_overdue());
    }

    #[test]
    fn between_requests_of_http_2_bytes_win_no_time() {
        let (clock, watch) = watch(false);
        watch.keep();
        clock.set(70_000);
        watch.received();
        check(&watch, &clock, Phase::Kept, 75_000);
    }

    #[test]
    fn a_tunnel_may_be_silent_for_its_time_since_the_last_byte_of_either_side() {
        let (clock, watch) = watch(false);
        watch.tunnel();
        clock.set(1_000_000);
        watch.received();
        check(&watch, &clock, Phase::Tunnel, 4_600_000);
        watch.sent(true);
        check(&watch, &clock, Phase::Tunnel, 8_200_000);
    }

    #[test]
    fn a_connection_rests_between_requests_unless_something_is_still_to_be_sent() {
        let (clock, watch) = watch(false);
        watch.begin();
        watch.sent(false);
        watch.end(false);
        clock.set(1_000);
        assert!(!watch.may_rest());
        watch.sent(true);
        assert!(watch.may_rest());
        watch.received();
        assert!(!watch.may_rest());
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
    fn all_places_are_looked_at_piece_by_piece() {
        let registry = Rc::new(Registry::default());
        let (clock, watch) = watch(false);
        clock.set(1_000_000);
        let watch = Rc::new(watch);
        let _entries: Vec<_> = (0..5).map(|_| registry.enter(&watch)).collect();
        assert_eq!([0, 2, 4, 6].map(|from| registry.wake_overdue(from, 2)), [true, true, false, false]);
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
