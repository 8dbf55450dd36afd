//! What can happen next, and what it does. Each step is one decision of one process at one instant, taken by `protocol`'s cores.

use protocol::api::Status;
use protocol::envelope::{Covered, Invalidated};
use protocol::ids::Position;
use protocol::invalidation::Entry;
use protocol::invalidation::grant::{Acquired, HolderWatch};
use protocol::invalidation::sequencer::Grant;
use protocol::job::{Ended, Settled};
use stateright::{Model, Property};

use super::state::{
    Cache, Call, Flight, FlightAt, KEYS, Key, Load, Read, Renewal, RenewalAt, State, StoreAnswer, TICKET, Value, World,
    Write, tags, term,
};

/// Loads and flights under way at a time, each.
const LOADS_MAX: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Tick,
    // A cache-svc and the store.
    Call(usize),
    StoreAnswers(usize),
    CallReturns(usize),
    CallLost(usize),
    Post(usize),
    PostArrives(usize),
    CacheRestarts(usize),
    GivesBack(usize),
    StoreRestarts,
    // The writer.
    WriteThroughLog,
    WriteBehindLog,
    JobChanges,
    JobCompletes,
    SeeJob,
    HandIn(usize),
    HandInOther(usize),
    Acknowledge,
    // The gateway's lease.
    Renew(usize),
    RenewalReceived,
    RenewalAnswered,
    RenewalReturns,
    RenewalLost,
    Announced(usize),
    // Loads, for clients whose answers are not checked too.
    BeginFlight(Key),
    AskCache(usize, usize),
    AskStore(usize),
    LoadReads(usize, usize),
    LoadEnds(usize, usize),
    FlightEnds(usize),
    /// A whole flight at one instant, where flights are not slow.
    Fill(usize, Key),
    // The checked request.
    Check(Key),
    Look,
}

impl Model for World {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![self.running(true), self.running(false)]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if matches!(state.read, Read::Answered(..)) {
            return;
        }
        steps.extend([Step::Tick, Step::StoreRestarts, Step::WriteThroughLog, Step::WriteBehindLog]);
        steps.extend([Step::JobChanges, Step::JobCompletes, Step::SeeJob, Step::Acknowledge, Step::Look]);
        steps.extend((0..self.keys).flat_map(|key| [Step::Check(key), Step::BeginFlight(key)]));
        steps.extend([Step::RenewalReceived, Step::RenewalAnswered, Step::RenewalReturns, Step::RenewalLost]);
        for (i, cache) in state.caches.iter().enumerate() {
            steps.extend([Step::Call(i), Step::StoreAnswers(i), Step::CallReturns(i), Step::CallLost(i)]);
            steps.extend([Step::Post(i), Step::PostArrives(i), Step::CacheRestarts(i), Step::GivesBack(i)]);
            steps.extend([Step::HandIn(i), Step::HandInOther(i), Step::Renew(i)]);
            steps.extend((0..cache.loads.len()).flat_map(|load| [Step::LoadReads(i, load), Step::LoadEnds(i, load)]));
            steps.extend((0..state.gateway.flights.len()).map(|flight| Step::AskCache(flight, i)));
            steps.extend((0..self.keys).map(|key| Step::Fill(i, key)));
        }
        steps.extend((0..state.gateway.flights.len()).flat_map(|f| [Step::AskStore(f), Step::FlightEnds(f)]));
        steps.extend((0..state.announced.len()).map(Step::Announced));
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        let possible = match step {
            Step::Tick => next.tick(self),
            Step::Call(i) => next.call(self, i),
            Step::StoreAnswers(i) => next.store_answers(self, i),
            Step::CallReturns(i) => next.call_returns(self, i),
            Step::CallLost(i) => next.caches[i].call.take().map(drop),
            Step::Post(i) => next.post(self, i),
            Step::PostArrives(i) => next.post_arrives(i),
            Step::JobChanges => next.job_changes(),
            Step::JobCompletes => next.job_completes(),
            Step::SeeJob => next.see_job(),
            Step::CacheRestarts(i) => next.cache_restarts(self, i),
            Step::GivesBack(i) => next.gives_back(self, i),
            Step::StoreRestarts => next.store_restarts(self),
            Step::WriteThroughLog => next.write(self.logged_writes, true),
            Step::WriteBehindLog => next.write(self.direct_writes, false),
            Step::HandIn(i) => next.hand_in(self, i),
            Step::HandInOther(i) => next.hand_in_other(self, i),
            Step::Acknowledge => next.acknowledge(),
            Step::Renew(i) => next.renew(self, i),
            Step::RenewalReceived => next.renewal_received(),
            Step::RenewalAnswered => next.renewal_answered(),
            Step::RenewalReturns => next.renewal_returns(),
            Step::RenewalLost => next.gateway.renewal.take().map(drop),
            Step::Announced(event) => next.announced(self, event),
            Step::BeginFlight(key) => next.begin_flight(self, key, false),
            Step::AskCache(flight, i) => next.ask_cache(flight, i),
            Step::AskStore(flight) => next.ask_store(self, flight),
            Step::LoadReads(i, load) => next.load_reads(self, i, load),
            Step::LoadEnds(i, load) => next.load_ends(i, load),
            Step::FlightEnds(flight) => next.flight_ends(flight),
            Step::Fill(i, key) => next.fill(self, i, key),
            Step::Check(key) => next.check(key),
            Step::Look => next.look(self),
        };
        possible.filter(|()| next != *state).map(|()| next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        super::properties(self)
    }
}

impl State {
    fn tick(&mut self, world: &World) -> Option<()> {
        (self.now < world.end_ms).then(|| self.now += 1)?;
        for cache in &mut self.caches {
            cache.core.forget_ended(self.now);
            cache.called = false;
        }
        self.gateway.renewed = None;
        Some(())
    }

    // --- a cache-svc and the store

    fn call(&mut self, world: &World, i: usize) -> Option<()> {
        let Cache { call, called, core, .. } = &mut self.caches[i];
        (world.store_leases && call.is_none() && !std::mem::replace(called, true)).then_some(())?;
        *call = Some(Call { sent_ms: self.now, term: core.term(), answer: None });
        if world.slow_calls { Some(()) } else { self.store_answers(world, i) }
    }

    fn store_answers(&mut self, world: &World, i: usize) -> Option<()> {
        let Cache { call, instance, .. } = &mut self.caches[i];
        let call = call.as_mut().filter(|call| call.answer.is_none())?;
        let store = &mut self.store;
        store.watch.look(self.now, &store.holding);
        let answer = match call.term {
            Some(term) if store.holding.renew(*instance, term.epoch) => StoreAnswer::Page(store.head),
            Some(_) => StoreAnswer::Refused,
            None => {
                let stood_still = store.watch.stood_still(self.now, world.lease_ms);
                match store.holding.acquire(*instance, stood_still) {
                    Acquired::Granted { epoch, predecessor } => StoreAnswer::Granted(Grant {
                        term: term(epoch),
                        lease_ms: world.lease_ms,
                        head: store.head,
                        fenced_through: store.fenced_through,
                        predecessor,
                    }),
                    Acquired::Held => StoreAnswer::Refused,
                }
            }
        };
        call.answer = Some(answer);
        store.watch.look(self.now, &store.holding);
        Some(())
    }

    fn call_returns(&mut self, world: &World, i: usize) -> Option<()> {
        let cache = &mut self.caches[i];
        let call = cache.call.take_if(|call| call.answer.is_some())?;
        match (call.answer?, call.term) {
            (StoreAnswer::Granted(grant), _) => {
                cache.core.granted(&grant, call.sent_ms, self.now);
                cache.shared = [None; KEYS.len()];
            }
            (StoreAnswer::Page(head), Some(term)) => {
                cache.core.renewed(term, call.sent_ms);
                // The flaw: posted as fenced, but nothing is invalidated.
                let covered = if world.late_head { Covered::default() } else { Covered::key(KEYS[0]) };
                if head > Position(0)
                    && let Some(entry) = cache.core.issue_logged(term, head, covered)
                {
                    self.issued(world, i, &entry);
                }
            }
            (StoreAnswer::Refused, Some(term)) => {
                cache.core.end(term);
                cache.shared = [None; KEYS.len()];
            }
            (StoreAnswer::Refused | StoreAnswer::Page(_), None) => {}
        }
        Some(())
    }

    /// Voids what the entry covers; the caller sequenced it in the same step.
    fn issued(&mut self, world: &World, i: usize, entry: &Entry) {
        let covers = |key: Key| entry.covered.covers(KEYS[key], &tags(key));
        for (key, held) in self.caches[i].shared.iter_mut().enumerate() {
            held.take_if(|_| covers(key));
        }
        if let Some(term) = self.caches[i].core.term().filter(|_| world.announces) {
            self.announced.push((term.epoch, entry.seq, covers(0), true));
        }
    }

    fn post(&mut self, world: &World, i: usize) -> Option<()> {
        let cache = &mut self.caches[i];
        let epoch = cache.core.term()?.epoch;
        if cache.posted.is_some() {
            return None;
        }
        cache.posted = Some((epoch, cache.core.fenced_position(self.now)?));
        if world.slow_calls { Some(()) } else { self.post_arrives(i) }
    }

    fn post_arrives(&mut self, i: usize) -> Option<()> {
        let (epoch, through) = self.caches[i].posted.take()?;
        let store = &mut self.store;
        if store.holding.is_present(epoch) {
            store.fenced_through = store.fenced_through.max(through);
            // Its entry is the only one of the log.
            if let Some(job) = store.job.as_mut().filter(|_| store.fenced_through >= store.head) {
                job.fence_closed();
            }
        }
        Some(())
    }

    fn cache_restarts(&mut self, world: &World, i: usize) -> Option<()> {
        let restarts = self.caches[i].restarts + 1;
        let fresh = Cache { restarts, ..world.cache(10 * (i as u128 + 1) + u128::from(restarts)) };
        (restarts <= world.cache_restarts).then(|| self.caches[i] = fresh)?;
        for flight in &mut self.gateway.flights {
            if matches!(flight.at, FlightAt::AtCache(at, _) if at == i) {
                flight.at = FlightAt::Begun;
            }
        }
        self.gateway.renewal.take_if(|renewal| renewal.cache == i && !matches!(renewal.at, RenewalAt::Answered(_)));
        Some(())
    }

    /// It is drained: it stops to act on its lease, then tells the store.
    fn gives_back(&mut self, world: &World, i: usize) -> Option<()> {
        let cache = &mut self.caches[i];
        let term = cache.core.term().filter(|_| self.store.yields < world.yields && cache.call.is_none())?;
        cache.core.end(term);
        cache.shared = [None; KEYS.len()];
        self.store.yields += 1;
        self.store.holding.give_back(cache.instance, term.epoch).then_some(())
    }

    fn store_restarts(&mut self, world: &World) -> Option<()> {
        self.store.restarts += 1;
        self.store.watch = HolderWatch::default();
        self.store.watch.look(self.now, &self.store.holding);
        (self.store.restarts <= world.store_restarts).then_some(())
    }

    // --- the writer

    fn write(&mut self, allowed: bool, logged: bool) -> Option<()> {
        (allowed && self.write == Write::Idle).then_some(())?;
        self.store.value = 1;
        self.write = Write::Changed;
        if logged {
            self.store.head = self.store.head.next();
            self.write = Write::Logged(self.store.head);
        }
        Some(())
    }

    /// The handler of the job changes the data.
    fn job_changes(&mut self) -> Option<()> {
        (self.store.job.is_some() && self.write == Write::Idle).then_some(())?;
        self.store.value = 1;
        self.write = Write::ByJob;
        Some(())
    }

    fn job_completes(&mut self) -> Option<()> {
        (self.write == Write::ByJob).then_some(())?;
        let job = self.store.job.as_mut()?;
        let recorded = job.complete(job.fence, Ended::Succeeded) == Settled::Recorded;
        // In the same commit, also where the flaw does not wait for it.
        recorded.then(|| self.store.head = self.store.head.next())
    }

    /// A client reads the job's status, at any gateway.
    fn see_job(&mut self) -> Option<()> {
        let succeeded = self.store.job.as_ref().is_some_and(|job| Status::from(job.state) == Status::Succeeded);
        (succeeded && self.write == Write::ByJob).then(|| self.write = Write::Acknowledged)
    }

    fn hand_in(&mut self, world: &World, cache: usize) -> Option<()> {
        (self.write == Write::Changed).then_some(())?;
        let core = &mut self.caches[cache].core;
        let entry = core.issue(self.now, world.named.covered()).ok()?;
        self.write = Write::Issued { cache, term: core.term()?, seq: entry.seq, at_ms: self.now };
        self.issued(world, cache, &entry);
        Some(())
    }

    /// Once, after the write's.
    fn hand_in_other(&mut self, world: &World, i: usize) -> Option<()> {
        (world.announces && self.announced.len() == 1).then_some(())?;
        let entry = self.caches[i].core.issue(self.now, Covered::key(KEYS[1])).ok()?;
        self.issued(world, i, &entry);
        Some(())
    }

    fn acknowledge(&mut self) -> Option<()> {
        let closed = match self.write {
            Write::Logged(position) => self.store.fenced_through >= position,
            Write::Issued { cache, term, seq, .. } => {
                let core = &mut self.caches[cache].core;
                core.term() == Some(term) && core.fenced(self.now) >= Some(seq)
            }
            Write::Idle | Write::Changed | Write::ByJob | Write::Acknowledged => false,
        };
        closed.then(|| self.write = Write::Acknowledged)
    }

    // --- the gateway's lease

    fn renew(&mut self, world: &World, cache: usize) -> Option<()> {
        self.gateway.renewal.is_none().then_some(())?;
        let request = self.gateway.lease.begin(TICKET, self.now, 0);
        let renewed = Some((cache, request));
        (std::mem::replace(&mut self.gateway.renewed, renewed) != renewed).then_some(())?;
        self.gateway.renewal = Some(Renewal { sent_ms: self.now, request, cache, at: RenewalAt::Sent });
        if !world.slow_renewals {
            self.renewal_received()?;
            self.renewal_answered()?;
            self.renewal_returns()?;
        }
        Some(())
    }

    fn renewal_received(&mut self) -> Option<()> {
        let renewal = self.gateway.renewal.as_mut().filter(|renewal| renewal.at == RenewalAt::Sent)?;
        self.caches[renewal.cache].core.report(&renewal.request);
        renewal.at = RenewalAt::Held { received_ms: self.now };
        Some(())
    }

    fn renewal_answered(&mut self) -> Option<()> {
        let renewal = self.gateway.renewal.as_mut()?;
        let RenewalAt::Held { received_ms } = renewal.at else { return None };
        let answer = self.caches[renewal.cache].core.answer(&renewal.request, received_ms, self.now).ok()?;
        renewal.at = RenewalAt::Answered(answer);
        Some(())
    }

    fn renewal_returns(&mut self) -> Option<()> {
        let gateway = &mut self.gateway;
        let renewal = gateway.renewal.take_if(|renewal| matches!(renewal.at, RenewalAt::Answered(_)))?;
        let RenewalAt::Answered(answer) = renewal.at else { return None };
        gateway.lease.answered(TICKET, &answer, self.now, &mut gateway.generations);
        Some(())
    }

    fn announced(&mut self, world: &World, event: usize) -> Option<()> {
        let (epoch, seq, of_write, new) = &mut self.announced[event];
        std::mem::take(new).then_some(())?;
        let covered = if *of_write { world.named.covered() } else { Covered::key(KEYS[1]) };
        let event = Invalidated::new(*epoch, *seq, covered);
        let gateway = &mut self.gateway;
        gateway.lease.announced(&event, &mut gateway.generations).then_some(())
    }

    // --- loads

    /// What the store holds under the key.
    fn stored(&self, world: &World, key: Key) -> Value {
        if world.named.changes(key) { self.store.value } else { 0 }
    }

    fn begin_flight(&mut self, world: &World, key: Key, awaited: bool) -> Option<()> {
        let flights = &mut self.gateway.flights;
        (world.slow_loads && flights.len() < LOADS_MAX).then_some(())?;
        flights.push(Flight { key, began: self.gateway.generations.now(), at: FlightAt::Begun, awaited });
        Some(())
    }

    fn ask_cache(&mut self, flight: usize, i: usize) -> Option<()> {
        let cache = &mut self.caches[i];
        let flight = self.gateway.flights.get_mut(flight).filter(|flight| flight.at == FlightAt::Begun)?;
        let key = flight.key;
        let mark = cache.core.begin_load(self.now).ok()?;
        if let Some(value) = cache.shared[key] {
            flight.at = FlightAt::Got(value);
            return Some(());
        }
        let of_key = cache.loads.iter().filter(|load| load.key == key);
        let joined = of_key.map(|load| load.mark).find(|mark| cache.core.may_join(*mark, KEYS[key]));
        if joined.is_none() {
            (cache.loads.len() < LOADS_MAX).then_some(())?;
            cache.loads.push(Load { key, mark, value: None });
        }
        flight.at = FlightAt::AtCache(i, joined.unwrap_or(mark));
        Some(())
    }

    fn ask_store(&mut self, world: &World, flight: usize) -> Option<()> {
        let key = self.gateway.flights.get(flight).filter(|flight| flight.at == FlightAt::Begun)?.key;
        self.gateway.flights[flight].at = FlightAt::Got(self.stored(world, key));
        Some(())
    }

    fn load_reads(&mut self, world: &World, i: usize, load: usize) -> Option<()> {
        let key = self.caches[i].loads.get(load).filter(|load| load.value.is_none())?.key;
        self.caches[i].loads[load].value = Some(self.stored(world, key));
        Some(())
    }

    fn load_ends(&mut self, i: usize, load: usize) -> Option<()> {
        let cache = &mut self.caches[i];
        let value = cache.loads.get(load)?.value?;
        let Load { key, mark, .. } = cache.loads.remove(load);
        if cache.core.may_keep(mark, KEYS[key], &tags(key)) {
            cache.shared[key] = Some(value);
        }
        for flight in &mut self.gateway.flights {
            if flight.key == key && flight.at == FlightAt::AtCache(i, mark) {
                flight.at = FlightAt::Got(value);
            }
        }
        Some(())
    }

    fn flight_ends(&mut self, flight: usize) -> Option<()> {
        let FlightAt::Got(value) = self.gateway.flights.get(flight)?.at else { return None };
        let Flight { key, began, awaited, .. } = self.gateway.flights.remove(flight);
        self.gateway.near[key] = Some((value, began));
        if awaited {
            self.read = Read::Answered(key, value);
        }
        Some(())
    }

    // --- the checked request

    fn fill(&mut self, world: &World, i: usize, key: Key) -> Option<()> {
        let stored = self.stored(world, key);
        let cache = &mut self.caches[i];
        (!world.slow_loads && cache.core.holds(self.now)).then_some(())?;
        let value = *cache.shared[key].get_or_insert(stored);
        self.gateway.near[key] = Some((value, self.gateway.generations.now()));
        Some(())
    }

    fn check(&mut self, key: Key) -> Option<()> {
        (self.write == Write::Acknowledged && self.read == Read::Idle).then_some(())?;
        self.read = Read::Checked { key, lease_is_valid: self.gateway.lease.may_serve(self.now) };
        Some(())
    }

    fn look(&mut self, world: &World) -> Option<()> {
        let Read::Checked { key, lease_is_valid } = self.read else { return None };
        let gateway = &mut self.gateway;
        if let Some((value, loaded)) = gateway.near[key]
            && lease_is_valid
            && gateway.is_current(loaded, key)
        {
            self.read = Read::Answered(key, value);
            return Some(());
        }
        if !world.slow_loads {
            return self.load_at_once(world, key);
        }
        self.read = Read::Waiting;
        let stripe = gateway.generations.key_stripe(KEYS[key]);
        let may_join = |began| gateway.generations.may_join(began, stripe, lease_is_valid);
        match gateway.flights.iter_mut().rev().find(|flight| flight.key == key && may_join(flight.began)) {
            Some(flight) => flight.awaited = true,
            None => self.begin_flight(world, key, true)?,
        }
        Some(())
    }

    /// Through whichever cache-svc serves, else from the store.
    fn load_at_once(&mut self, world: &World, key: Key) -> Option<()> {
        let now = self.now;
        let shared = self.caches.iter().filter(|cache| cache.core.holds(now)).find_map(|cache| cache.shared[key]);
        self.read = Read::Answered(key, shared.unwrap_or(self.stored(world, key)));
        Some(())
    }
}
