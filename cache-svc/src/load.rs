//! Reads through the shared cache: one load at a time for a key and what was issued before it began.

use std::sync::Arc;

use chassis::clock;
use chassis::flights::{self, Flights};
use chassis::http::Rejection;
use chassis::task::Tasks;
use protocol::cache_api::Source;
use protocol::invalidation::sequencer::LoadMark;
use protocol::problem::Kind;
use rand::RngExt as _;

use crate::entry::Entry;
use crate::http::refused;
use crate::seat::Seat;
use crate::store::Store;

type Landed = Result<Arc<Entry>, Rejection>;
type Pilot = flights::Pilot<LoadMark, Landed>;

/// Loads values for the shared cache. Clones are handles of the same.
#[derive(Clone, Debug)]
pub(crate) struct Loader(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    seat: Arc<Seat>,
    store: Store,
    flights: Flights<LoadMark, Landed>,
    tasks: Tasks,
    ttl_ms: u64,
    absent_ttl_ms: u64,
}

impl Loader {
    pub(crate) fn new(seat: Arc<Seat>, store: Store, tasks: Tasks, ttl_ms: u64, absent_ttl_ms: u64) -> Self {
        Self(Arc::new(Parts { seat, store, flights: Flights::default(), tasks, ttl_ms, absent_ttl_ms }))
    }

    /// What is held, or what a load brings.
    ///
    /// # Errors
    /// 503 when this is not the sequencer, or the store is away.
    pub(crate) async fn read(&self, key: &str) -> Result<(Arc<Entry>, Source), Rejection> {
        let parts = &self.0;
        let mark = parts.seat.begin_load().map_err(refused)?;
        if let Some(entry) = parts.seat.shared.get(key, clock::now_ms()) {
            count("hit");
            return Ok((entry, Source::Shared));
        }
        let mut boarded = parts.flights.board(key, mark, |began| parts.seat.may_join(began, key));
        if let Some(pilot) = boarded.pilot.take() {
            count("load");
            parts.tasks.spawn("load", self.clone().load(pilot));
        } else {
            count("joined");
        }
        let landed = boarded.landed().await.unwrap_or_else(|| Err(Kind::Unavailable.into()));
        Ok((landed?, Source::Store))
    }

    async fn load(self, pilot: Pilot) {
        let parts = &self.0;
        let landed = match parts.store.load(&pilot.key).await {
            Ok(found) => {
                let ttl_ms = if found.is_some() { jittered(parts.ttl_ms) } else { parts.absent_ttl_ms };
                let loaded_ms = clock::now_ms();
                let (value, version) = found.map_or((None, None), |found| (Some(found.data), Some(found.version)));
                let entry = Arc::new(Entry { value, version, loaded_ms, expires_ms: loaded_ms + ttl_ms });
                if !parts.seat.keep(pilot.began, pilot.key.clone(), entry.clone()) {
                    count("overtaken");
                }
                Ok(entry)
            }
            Err(error) => Err(error.into()),
        };
        parts.flights.land(pilot, landed);
        gauge(parts.seat.shared.bytes());
    }

    /// An operator's value, for as long as a loaded one.
    pub(crate) fn held_like_loaded(&self, value: Box<serde_json::value::RawValue>) -> Entry {
        let loaded_ms = clock::now_ms();
        Entry { value: Some(value), version: None, loaded_ms, expires_ms: loaded_ms + jittered(self.0.ttl_ms) }
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
