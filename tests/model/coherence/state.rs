//! What the model of coherence is made of: a store, cache-svcs, one gateway, one writer, one reader. One tick of the clock is 1 ms; any
//! process may stop for any number of ticks between any two of its steps.

use protocol::cache_api::{RenewalAnswer, RenewalRequest};
use protocol::ids::{Epoch, HolderId, Incarnation, InstanceId, Position, Seq};
use protocol::invalidation::Term;
use protocol::invalidation::grant::{HolderWatch, Holding};
use protocol::invalidation::guards::{Guard, Guards};
use protocol::invalidation::near::{Generations, NearLease, Tick, Ticket};
use protocol::invalidation::sequencer::{Grant, LoadMark, Sequencer, Settings};
use uuid::Uuid;

/// The one key that is read.
pub(super) const KEY: &str = "a";
/// A key that nobody reads.
pub(super) const OTHER: &str = "b";

/// All guards but one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Without(pub(super) Option<Guard>);

impl Guards for Without {
    fn keeps(&self, guard: Guard) -> bool {
        self.0 != Some(guard)
    }
}

/// The value of the key: 0 before the write, 1 after it.
pub(super) type Value = u8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) now: u64,
    pub(super) store: Store,
    pub(super) caches: Vec<Cache>,
    pub(super) gateway: Gateway,
    pub(super) write: Write,
    pub(super) read: Read,
    /// What was announced on the fanout: epoch, seq, whether it covers the key, whether it may still come.
    pub(super) announced: Vec<(Epoch, Seq, bool, bool)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Store {
    pub(super) value: Value,
    /// The log's head; its one invalidation is that of the logged write.
    pub(super) head: Position,
    pub(super) fenced_through: Position,
    pub(super) holding: Holding,
    pub(super) watch: HolderWatch,
    pub(super) restarts: u8,
    pub(super) yields: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cache {
    pub(super) instance: InstanceId,
    pub(super) core: Sequencer<Without>,
    pub(super) shared: Option<Value>,
    pub(super) call: Option<Call>,
    /// In this tick: once is enough.
    pub(super) called: bool,
    /// On its way to the store.
    pub(super) posted: Option<(Epoch, Position)>,
    pub(super) loads: Vec<Load>,
    pub(super) restarts: u8,
}

/// A call to the store, sent, and perhaps answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Call {
    pub(super) sent_ms: u64,
    /// `None`: it asks for the lease.
    pub(super) term: Option<Term>,
    pub(super) answer: Option<StoreAnswer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum StoreAnswer {
    Granted(Grant),
    /// The lease was renewed, and the log read up to here.
    Page(Position),
    Refused,
}

/// A load by a cache-svc.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Load {
    pub(super) mark: LoadMark,
    pub(super) value: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gateway {
    pub(super) lease: NearLease<Without>,
    pub(super) generations: Generations<Vec<u64>, Without>,
    pub(super) near: Option<(Value, Tick)>,
    pub(super) renewal: Option<Renewal>,
    /// The last renewal that was sent in this tick: another one is sent only to say something else.
    pub(super) renewed: Option<(usize, RenewalRequest)>,
    pub(super) flights: Vec<Flight>,
}

/// A renewal sent to a cache-svc.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Renewal {
    pub(super) sent_ms: u64,
    pub(super) request: RenewalRequest,
    pub(super) cache: usize,
    pub(super) at: RenewalAt,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum RenewalAt {
    Sent,
    /// Its report is taken; it is held open for news.
    Held {
        received_ms: u64,
    },
    Answered(RenewalAnswer),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) began: Tick,
    pub(super) at: FlightAt,
    /// The checked request waits for it.
    pub(super) awaited: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum FlightAt {
    Begun,
    /// It waits for a load by this cache-svc.
    AtCache(usize, LoadMark),
    Got(Value),
}

/// The one write, and how it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Write {
    Idle,
    /// Written through the store; acknowledged when the store says that this position is fenced.
    Logged(Position),
    /// Changed behind the store's log (by SQL, say); the invalidation is still to be handed in.
    Changed,
    /// Handed in at a cache-svc; acknowledged when its fence closes.
    Issued {
        cache: usize,
        term: Term,
        seq: Seq,
        at_ms: u64,
    },
    Acknowledged,
}

/// The one request that is checked: it begins after the acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Read {
    Idle,
    /// The clock was read and compared with the lease.
    Checked {
        lease_is_valid: bool,
    },
    /// It waits for a flight.
    Waiting,
    Answered(Value),
}

/// States that differ only in what decides nothing any more count as one: how long ago something ended, which number a generation has.
impl std::hash::Hash for State {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        let Self { now, store, caches, gateway, write, read, announced } = self;
        let Store { value, head, fenced_through, holding, watch, restarts, yields } = store;
        (now, value, head, fenced_through, holding.epoch, holding.holder, restarts, yields).hash(hasher);
        watch.remaining_ms(*now, 2).hash(hasher);
        (caches, write, read, announced).hash(hasher);
        let Gateway { lease, generations, near, renewal, renewed, flights } = gateway;
        (lease.term(), lease.applied(), lease.valid_until_ms().max(*now), renewal, renewed).hash(hasher);
        let key = generations.key_stripe(KEY);
        near.map(|(value, loaded)| (value, generations.is_current(loaded, key, &[]))).hash(hasher);
        for Flight { began, at, awaited } in flights {
            let generation = (generations.is_current(*began, key, &[]), generations.may_join(*began, key, true));
            (generation, at, awaited).hash(hasher);
        }
    }
}

/// What is explored.
#[derive(Clone, Copy, Debug)]
pub(super) struct World {
    pub(super) guards: Without,
    pub(super) settings: Settings,
    /// The sequencer's lease.
    pub(super) lease_ms: u64,
    /// The last tick.
    pub(super) end_ms: u64,
    pub(super) caches: usize,
    /// The store grants, and may take long, be lost, restart. Without: the first cache-svc is sequencer all along.
    pub(super) store_leases: bool,
    /// How often the store sees its lease given back.
    pub(super) yields: u8,
    pub(super) cache_restarts: u8,
    pub(super) store_restarts: u8,
    pub(super) announces: bool,
    /// Loads and renewals go step by step; without, each is one step.
    pub(super) slow_loads: bool,
    pub(super) slow_renewals: bool,
    /// Calls to the store take long on their way there too, not only back.
    pub(super) slow_calls: bool,
    /// A flaw: what the first page of the log brings is taken as covered by the grant.
    pub(super) late_head: bool,
    pub(super) logged_writes: bool,
    pub(super) direct_writes: bool,
}

pub(super) fn term(epoch: Epoch) -> Term {
    Term { incarnation: Incarnation(Uuid::nil()), epoch }
}

impl World {
    /// A running system: the first cache-svc is sequencer, the gateway has its lease; both hold the value, or not yet.
    pub(super) fn running(&self, held: bool) -> State {
        let mut holding = Holding::default();
        let mut watch = HolderWatch::default();
        let mut caches: Vec<Cache> = (0..self.caches).map(|number| self.cache(number as u128 + 1)).collect();
        holding.acquire(caches[0].instance, false);
        watch.look(0, &holding);
        let grant = Grant {
            term: term(holding.epoch),
            lease_ms: if self.store_leases { self.lease_ms } else { 1_000 },
            head: Position(0),
            fenced_through: Position(0),
            predecessor: false,
        };
        caches[0].core.granted(&grant, 0, 0);
        caches[0].shared = held.then_some(0);
        let mut gateway = self.gateway();
        let request = gateway.lease.begin(TICKET, 0, 0);
        let answer = caches[0].core.answer(&request, 0, 0).expect("it was granted just now");
        gateway.lease.answered(TICKET, &answer, 0, &mut gateway.generations);
        gateway.near = held.then(|| (0, gateway.generations.now()));
        let store =
            Store { value: 0, head: Position(0), fenced_through: Position(0), holding, watch, restarts: 0, yields: 0 };
        State { now: 0, store, caches, gateway, write: Write::Idle, read: Read::Idle, announced: Vec::new() }
    }

    pub(super) fn cache(&self, instance: u128) -> Cache {
        Cache {
            instance: InstanceId(Uuid::from_u128(instance)),
            core: Sequencer::guarded_by(self.guards, self.settings),
            shared: None,
            call: None,
            called: false,
            posted: None,
            loads: Vec::new(),
            restarts: 0,
        }
    }

    fn gateway(&self) -> Gateway {
        Gateway {
            lease: NearLease::guarded_by(self.guards, HolderId(Uuid::from_u128(1))),
            renewed: None,
            generations: Generations::guarded_by(self.guards, STRIPES),
            near: None,
            renewal: None,
            flights: Vec::new(),
        }
    }
}

/// An answer that is not awaited any more never comes, so one number will do.
pub(super) const TICKET: Ticket = Ticket(0);
/// Enough that the two keys have stripes of their own.
const STRIPES: usize = 2;
