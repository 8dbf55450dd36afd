//! Reads through the shared cache: one load at a time for a key and what was issued before it began.

use std::sync::Arc;

use chassis::client::DataRead;
use chassis::clock;
use chassis::flights::{self, Flights};
use chassis::http::Rejection;
use chassis::task::Tasks;
use protocol::cache_api::{AtLeast, Source};
use protocol::invalidation::sequencer::LoadMark;
use protocol::problem::Kind;
use protocol::store_api::DataView;
use rand::RngExt as _;
use tokio::sync::Semaphore;

use crate::entry::Entry;
use crate::http::refused;
use crate::seat::Seat;
use crate::store::{LOAD_DEADLINE, Store};

type Landed = Result<Arc<Entry>, Rejection>;
type Pilot = flights::Pilot<LoadMark, Landed>;

/// Loads values for the shared cache. Clones are handles of the same.
#[derive(Clone, Debug)]
pub(crate) struct Loader(Arc<Parts>);

/// How long values are kept, and how many are loaded at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) ttl_ms: u64,
    pub(crate) absent_ttl_ms: u64,
    pub(crate) loads_max: usize,
}

#[derive(Debug)]
struct Parts {
    seat: Arc<Seat>,
    store: Store,
    flights: Flights<LoadMark, Landed>,
    /// Loads at once: when everything was dropped, the store is asked for all of it again.
    turns: Semaphore,
    tasks: Tasks,
    bounds: Bounds,
}

impl Loader {
    pub(crate) fn new(seat: Arc<Seat>, store: Store, tasks: Tasks, bounds: Bounds) -> Self {
        let turns = Semaphore::new(bounds.loads_max);
        Self(Arc::new(Parts { seat, store, flights: Flights::default(), turns, tasks, bounds }))
    }

    /// What is held, or what a load brings; read at `at_least` or later, unless that is of another history of the store: then read
    /// after this was asked.
    ///
    /// # Errors
    /// 503 when this is not the sequencer, or the store is away or asked for too much.
    pub(crate) async fn read(&self, key: &str, at_least: AtLeast) -> Result<(Arc<Entry>, Source), Rejection> {
        let parts = &self.0;
        let mark = parts.seat.begin_load().map_err(refused)?;
        let held = parts.seat.shared.get(key, clock::now_ms());
        if let Some(entry) = held.filter(|entry| at_least.is_met(entry.read_at)) {
            count("hit");
            return Ok((entry, Source::Shared));
        }
        let (mut entry, joined) = self.board(key, mark, |began| parts.seat.may_join(began, key)).await?;
        if joined && !at_least.is_met(entry.read_at) {
            // It may have read before the write that is asked for. One that begins now has not.
            let mark = parts.seat.begin_load().map_err(refused)?;
            (entry, _) = self.board(key, mark, |_| false).await?;
        }
        if at_least.is_missed(entry.read_at) {
            return Err(Kind::Unavailable.into());
        }
        Ok((entry, Source::Store))
    }

    /// What a load brings, and whether somebody else had begun it.
    async fn board(
        &self,
        key: &str,
        mark: LoadMark,
        may_join: impl FnOnce(LoadMark) -> bool,
    ) -> Result<(Arc<Entry>, bool), Rejection> {
        let start = |pilot| {
            self.0.tasks.spawn("load", self.clone().load(pilot));
        };
        let (joined, landing) = self.0.flights.fly(key, mark, may_join, start);
        count(if joined { "joined" } else { "load" });
        let landed = landing.await.unwrap_or_else(|| Err(Kind::Unavailable.into()));
        Ok((landed?, joined))
    }

    async fn load(self, pilot: Pilot) {
        let parts = &self.0;
        let landed = self.fetch(&pilot).await.map(Arc::new);
        if let Ok(entry) = &landed
            && !parts.seat.keep(pilot.key.clone(), entry.clone())
        {
            count("overtaken");
        }
        parts.flights.land(pilot, landed);
        gauge(parts.seat.shared.bytes());
    }

    async fn fetch(&self, pilot: &Pilot) -> Result<Entry, Rejection> {
        let Parts { store, turns, bounds, .. } = &*self.0;
        let Ok(turn) = tokio::time::timeout(LOAD_DEADLINE, turns.acquire()).await else {
            count("refused");
            return Err(Kind::Unavailable.into());
        };
        let DataRead { found, read_at } = store.load(&pilot.key).await?;
        drop(turn);
        let loaded_ms = clock::now_ms();
        let ttl_ms = if found.is_some() { jittered(bounds.ttl_ms) } else { bounds.absent_ttl_ms };
        let mut entry = Entry {
            value: None,
            tags: Vec::new(),
            media_type: None,
            version: None,
            read_at,
            mark: pilot.began,
            loaded_ms,
            expires_ms: loaded_ms + ttl_ms,
        };
        if let Some(DataView { version, data, tags, media_type }) = found {
            (entry.value, entry.version) = (Some(data), Some(version));
            (entry.tags, entry.media_type) = (tags, media_type);
        }
        Ok(entry)
    }

    /// An operator's value is held for as long as a loaded one.
    pub(crate) fn override_ttl_ms(&self) -> u64 {
        jittered(self.0.bounds.ttl_ms)
    }
}

/// Less up to a tenth, so that what was loaded together does not expire together.
fn jittered(ttl_ms: u64) -> u64 {
    ttl_ms - rand::rng().random_range(0..=ttl_ms / 10)
}

fn count(outcome: &'static str) {
    metrics::counter!("longshore_shared_reads_total", "program" => "cache-svc", "outcome" => outcome).increment(1);
}

#[expect(clippy::cast_precision_loss, reason = "a gauge of bytes needs no more than 52 bits")]
fn gauge(bytes: u64) {
    metrics::gauge!("longshore_shared_bytes", "program" => "cache-svc").set(bytes as f64);
}
