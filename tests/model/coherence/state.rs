//! What the model of coherence is made of: a store, cache-svcs, one gateway, one writer, one reader. One tick of the clock is 1 ms; any
//! process may stop for any number of ticks between any two of its steps.

use protocol::cache_api::{RenewalAnswer, RenewalRequest};
use protocol::envelope::Covered;
use protocol::ids::{ClaimId, Epoch, HolderId, Incarnation, InstanceId, Position, Seq};
use protocol::invalidation::Term;
use protocol::invalidation::grant::{HolderWatch, Holding};
use protocol::invalidation::guards::{Full, Guard, Guards};
use protocol::invalidation::near::{Generations, NearLease, Tick, Ticket};
use protocol::invalidation::sequencer::{Grant, LoadMark, Sequencer, Settings};
use protocol::job::Job;
use uuid::Uuid;

/// The keys. The write changes the first one, and the second one if it invalidates everything; only a world of two keys reads the second.
pub(super) const KEYS: [&str; 2] = ["a", "b"];
/// Of the first key.
const TAG: &str = "t";

/// The number of a key.
pub(super) type Key = usize;

/// What the write's invalidation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Named {
    Key,
    Tag,
    All,
}

impl Named {
    pub(super) fn covered(self) -> Covered {
        match self {
            Self::Key => Covered::key(KEYS[0]),
            Self::Tag => Covered { tags: tags(0), ..Covered::default() },
            Self::All => Covered { all: true, ..Covered::default() },
        }
    }

    /// Whether the write changes the value of the key.
    pub(super) fn changes(self, key: Key) -> bool {
        key == 0 || self == Self::All
    }
}

/// A key's tags; a load learns them with the value.
pub(super) fn tags(key: Key) -> Vec<String> {
    if key == 0 { vec![TAG.to_owned()] } else { Vec::new() }
}

/// All guards but one; if the product itself was built without one, that one is missing here too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Without(pub(super) Option<Guard>);

impl Guards for Without {
    fn keeps(&self, guard: Guard) -> bool {
        self.0 != Some(guard) && Full.keeps(guard)
    }
}

/// The value of a key: 0 before the write, 1 after it.
pub(super) type Value = u8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) now: u64,
    pub(super) store: Store,
    pub(super) caches: Vec<Cache>,
    pub(super) gateway: Gateway,
    pub(super) write: Write,
    pub(super) read: Read,
    /// What was announced on the fanout: epoch, seq, whether it is the write's, whether it may still come.
    pub(super) announced: Vec<(Epoch, Seq, bool, bool)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Store {
    /// Of what the write changes; anything else keeps its 0.
    pub(super) value: Value,
    /// The log's head; its one invalidation is that of the logged write, or of the job.
    pub(super) head: Position,
    /// Runs from the start, in a world that has one.
    pub(super) job: Option<Job>,
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
    pub(super) shared: [Option<Value>; KEYS.len()],
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
    pub(super) key: Key,
    pub(super) mark: LoadMark,
    pub(super) value: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gateway {
    pub(super) lease: NearLease<Without>,
    pub(super) generations: Generations<Vec<u64>, Without>,
    pub(super) near: [Option<(Value, Tick)>; KEYS.len()],
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
    pub(super) key: Key,
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
    /// Changed by a job that declares it; acknowledged when the job is seen to have succeeded.
    ByJob,
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
        key: Key,
        lease_is_valid: bool,
    },
    /// It waits for a flight.
    Waiting,
    Answered(Key, Value),
}

/// States that differ only in what decides nothing any more count as one: how long ago something ended, which number a generation has.
impl std::hash::Hash for State {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        let Self { now, store, caches, gateway, write, read, announced } = self;
        let Store { value, head, job, fenced_through, holding, watch, restarts, yields } = store;
        (now, value, head, job, fenced_through, holding.epoch, holding.holder, restarts, yields).hash(hasher);
        watch.remaining_ms(*now, 2).hash(hasher);
        (caches, write, read, announced).hash(hasher);
        let Gateway { lease, generations, near, renewal, renewed, flights } = gateway;
        (lease.term(), lease.applied(), lease.valid_until_ms().max(*now), renewal, renewed).hash(hasher);
        for (key, near) in near.iter().enumerate() {
            near.map(|(value, loaded)| (value, gateway.is_current(loaded, key))).hash(hasher);
        }
        for Flight { key, began, at, awaited } in flights {
            let may_join = generations.may_join(*began, generations.key_stripe(KEYS[*key]), true);
            (key, gateway.is_current(*began, *key), may_join, at, awaited).hash(hasher);
        }
    }
}

impl Gateway {
    pub(super) fn is_current(&self, loaded: Tick, key: Key) -> bool {
        let tag = (key == 0).then(|| self.generations.tag_stripe(TAG));
        self.generations.is_current(loaded, self.generations.key_stripe(KEYS[key]), tag.as_slice())
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
    /// How many keys are read.
    pub(super) keys: usize,
    pub(super) named: Named,
    /// A job changes the data; `Some(false)`, a flaw: it has succeeded before its invalidation is fenced.
    pub(super) job_waits: Option<bool>,
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
        caches[0].shared = self.all_keys(held.then_some(0));
        let mut gateway = self.gateway();
        let request = gateway.lease.begin(TICKET, 0, 0);
        let answer = caches[0].core.answer(&request, 0, 0).expect("it was granted just now");
        gateway.lease.answered(TICKET, &answer, 0, &mut gateway.generations);
        gateway.near = self.all_keys(held.then(|| (0, gateway.generations.now())));
        let job = self.job_waits.map(running_job);
        let (head, fenced_through) = (Position(0), Position(0));
        let store = Store { value: 0, head, job, fenced_through, holding, watch, restarts: 0, yields: 0 };
        State { now: 0, store, caches, gateway, write: Write::Idle, read: Read::Idle, announced: Vec::new() }
    }

    /// The same under each key that is read.
    fn all_keys<T: Copy>(&self, held: Option<T>) -> [Option<T>; KEYS.len()] {
        std::array::from_fn(|key| held.filter(|_| key < self.keys))
    }

    pub(super) fn cache(&self, instance: u128) -> Cache {
        Cache {
            instance: InstanceId(Uuid::from_u128(instance)),
            core: Sequencer::guarded_by(self.guards, self.settings),
            shared: [None; KEYS.len()],
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
            near: [None; KEYS.len()],
            renewal: None,
            flights: Vec::new(),
        }
    }
}

/// A job whose only attempt runs; one that `waits` declares what it invalidates.
fn running_job(waits: bool) -> Job {
    let mut job = Job::create(true, 1, waits);
    job.claim(job.dispatch, ClaimId(Uuid::from_u128(1))).expect("it is queued");
    job
}

/// An answer that is not awaited any more never comes, so one number will do.
pub(super) const TICKET: Ticket = Ticket(0);
/// Enough that the keys and the tag have stripes of their own, which a test holds.
const STRIPES: usize = 3;

#[test]
fn names_have_stripes_of_their_own() {
    let generations = Generations::<Vec<u64>, _>::guarded_by(Full, STRIPES);
    let [a, b] = KEYS.map(|key| generations.key_stripe(key));
    let tag = generations.tag_stripe(TAG);
    assert!(a != b && a != tag && b != tag);
}
