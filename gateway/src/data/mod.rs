//! Hot reads at memory speed that are never stale after an acknowledged invalidation: the near cache, reads through cache-svc, data
//! writes and invalidations.

mod coherence;
pub(crate) mod demand;
mod entry;
pub(crate) mod inspect;
mod load;
pub(crate) mod read;
mod reads;
mod renewal;
pub(crate) mod write;

use std::sync::Arc;

use chassis::bounded_cache::BoundedCache;
use chassis::broker::Broker;
use chassis::client::{CacheClient, Http, StoreClient};
use chassis::config::Addresses;
use chassis::flights::Flights;
use chassis::health::Health;
use chassis::internal::InternalKey;
use chassis::shutdown::Shutdown;
use chassis::task::Tasks;
use protocol::ids::HolderId;
use protocol::invalidation::near::Tick;
use tokio::sync::Semaphore;

use coherence::Coherence;
use demand::StalePolicy;
use entry::Entry;
use load::Landed;
use reads::Reads;

/// Loads past the sequencer at once; more wait.
const PAST_MAX: usize = 64;
/// The key of `GET /data`.
const DEFAULT_KEY: &str = "my_data";

/// Everything that serves `/data` and `/cache`. Clones are handles of the same.
#[derive(Clone, Debug)]
pub(crate) struct Data(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    coherence: Arc<Coherence>,
    near: BoundedCache<Entry>,
    flights: Flights<Tick, Landed>,
    reads: Reads,
    cache: CacheClient,
    store: StoreClient,
    /// Loads past the sequencer at once.
    past_turns: Semaphore,
    stale: StalePolicy,
    tasks: Tasks,
}

/// What it is made of.
#[derive(Debug)]
pub(crate) struct Options<'a> {
    pub(crate) cache_url: &'a Addresses,
    pub(crate) internal: &'a InternalKey,
    pub(crate) store: StoreClient,
    pub(crate) broker: &'a Broker,
    pub(crate) near_bytes_max: u64,
    pub(crate) stale: StalePolicy,
    /// What this gateway is called where several are listed.
    pub(crate) name: String,
}

impl Data {
    /// Starts the renewals and follows the announcements. Until the first renewal is answered, reads go through.
    pub(crate) fn start(options: Options<'_>, health: &Health, tasks: &Tasks, shutdown: &Shutdown) -> Self {
        let holder = HolderId::generate();
        let coherence = Arc::new(Coherence::new(holder));
        // Connections of their own: a fence that waits must never hold up a renewal.
        let renewals = CacheClient::new(&Http::between(options.internal), options.cache_url);
        health.awaits("cache", "no near lease yet");
        let renewed = renewal::renew(coherence.clone(), renewals, health.clone(), shutdown.clone());
        tasks.spawn("near lease", renewed);
        tasks.spawn("announcements", renewal::follow(coherence.clone(), options.broker.clone(), shutdown.clone()));
        let data = Self(Arc::new(Parts {
            coherence,
            near: BoundedCache::new(options.near_bytes_max),
            flights: Flights::default(),
            reads: Reads::default(),
            cache: CacheClient::new(&Http::between(options.internal), options.cache_url),
            store: options.store,
            past_turns: Semaphore::new(PAST_MAX),
            stale: options.stale,
            tasks: tasks.clone(),
        }));
        let answering = inspect::answer_inspections(data.clone(), holder, options.name, shutdown.clone());
        tasks.spawn("inspections", answering);
        data
    }
}
