//! Finds a value: in the near cache, through cache-svc, past it from the store, and, where both sides agreed to that, one that is stale.

use std::sync::Arc;
use std::time::Duration;

use chassis::client::{Call, Error, segment};
use chassis::clock;
use chassis::flights;
use chassis::http::Rejection;
use protocol::cache_api::{AtLeast, ReadAnswer, Source};
use protocol::invalidation::near::{Stripe, Tick};
use protocol::problem::Kind;
use protocol::store_api::DataView;

use super::Data;
use super::demand::Demand;
use super::entry::{Entry, Value};

/// How long a load may take at cache-svc, and then again at the store.
const LOAD_DEADLINE: Duration = Duration::from_secs(2);

/// What a load brings.
pub(super) type Landed = Result<Arc<Entry>, Rejection>;
type Pilot = flights::Pilot<Tick, Landed>;

/// How a read was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    Near,
    /// Loaded through cache-svc, by this request or one that it joined.
    Loaded {
        joined: bool,
    },
    /// Loaded past the sequencer; kept nowhere.
    Past,
    /// Not current any more, or not known to be, for at most so long.
    Stale {
        seconds: u64,
    },
}

#[derive(Debug)]
pub(super) struct Answered {
    pub(super) entry: Arc<Entry>,
    pub(super) tier: Tier,
}

impl Data {
    /// What may be answered: the present value, or else a stale one if both the client and the owner of the data said so.
    ///
    /// # Errors
    /// 503 when neither cache-svc nor the store answers.
    pub(super) async fn answer(&self, key: &str, demand: Demand) -> Result<Answered, Rejection> {
        let rejection = match self.read(key, demand.at_least).await {
            Err(rejection) if rejection.0.status >= 500 => rejection,
            answered => return answered,
        };
        let within = self.0.stale.permits(key, demand.stale_if_error);
        let stale = within.and_then(|within| self.stale(key, within));
        let stale = stale.filter(|stale| demand.at_least.is_met(stale.entry.read_at));
        stale.inspect(|_| self.0.reads.stale()).ok_or(rejection)
    }

    async fn read(&self, key: &str, at_least: AtLeast) -> Result<Answered, Rejection> {
        let parts = &self.0;
        let may_serve = parts.coherence.may_serve();
        let stripe = parts.coherence.key_stripe(key);
        if let Some(answered) = self.near(key, stripe, may_serve, at_least) {
            return Ok(answered);
        }
        let may_join = |began| parts.coherence.may_join(began, stripe, may_serve);
        let (mut entry, mut joined) = self.board(key, at_least, may_join).await?;
        if joined && !at_least.is_met(entry.read_at) {
            // It may have read before the write that is asked for. One that begins now has not.
            (entry, joined) = self.board(key, at_least, |_| false).await?;
        }
        if at_least.is_missed(entry.read_at) {
            return Err(Kind::Unavailable.into());
        }
        parts.reads.loaded(entry.source);
        let tier = if entry.mark.is_some() { Tier::Loaded { joined } } else { Tier::Past };
        Ok(Answered { entry, tier })
    }

    /// A near hit, and nothing else: for requests that are answered before they are routed.
    pub(super) fn hit(&self, key: &str, at_least: AtLeast) -> Option<Answered> {
        let coherence = &self.0.coherence;
        self.near(key, coherence.key_stripe(key), coherence.may_serve(), at_least)
    }

    fn near(&self, key: &str, stripe: Stripe, may_serve: bool, at_least: AtLeast) -> Option<Answered> {
        let parts = &self.0;
        if !may_serve {
            return None;
        }
        let entry = parts.near.get(key)?;
        let is_good = clock::now_ms() < entry.expires_ms
            && parts.coherence.is_current(entry.loaded, stripe, &entry.tags)
            && at_least.is_met(entry.read_at);
        is_good.then(|| {
            parts.reads.near();
            Answered { entry, tier: Tier::Near }
        })
    }

    /// What a load brings, and whether somebody else had begun it.
    async fn board(
        &self,
        key: &str,
        at_least: AtLeast,
        may_join: impl FnOnce(Tick) -> bool,
    ) -> Result<(Arc<Entry>, bool), Rejection> {
        let parts = &self.0;
        let start = |pilot| {
            parts.tasks.spawn("data load", self.clone().load(pilot, at_least));
        };
        let (joined, landing) = parts.flights.fly(key, parts.coherence.now(), may_join, start);
        let landed = landing.await.unwrap_or_else(|| Err(Kind::Unavailable.into()));
        Ok((landed?, joined))
    }

    async fn load(self, pilot: Pilot, at_least: AtLeast) {
        let landed = match self.through_cache(&pilot, at_least).await {
            Ok(entry) => {
                let entry = Arc::new(entry);
                self.0.near.put(pilot.key.clone(), entry.clone());
                Ok(entry)
            }
            // Nothing of what comes past the sequencer is kept.
            Err(error) if error.is_transient() => self.past_cache(&pilot).await,
            Err(error) => Err(error.into()),
        };
        self.0.flights.land(pilot, landed);
        metrics::gauge!("longshore_near_bytes", "program" => "gateway").set(approximate(self.0.near.bytes()));
    }

    async fn through_cache(&self, pilot: &Pilot, at_least: AtLeast) -> Result<Entry, Error> {
        let mut path = format!("/read/{}", segment(&pilot.key));
        if let Some(at_least) = at_least.0 {
            path += &format!("?at_least={at_least}");
        }
        let answer = self.0.cache.peer().call(&Call::get(path).within(LOAD_DEADLINE)).await?.json::<ReadAnswer>()?;
        let ReadAnswer { source, found, data, version, tags, media_type, read_at, mark, age_ms, ttl_ms } = answer.body;
        let now_ms = clock::now_ms();
        let value = found.then(|| Value::new(&data, media_type.as_ref()).ok_or("the data are not bytes in base64"));
        let value = value.transpose().map_err(|reason| malformed(&answer.address, reason))?;
        Ok(Entry {
            value,
            source,
            loaded: pilot.began,
            tags: tags.iter().map(|tag| self.0.coherence.tag_stripe(tag)).collect(),
            version,
            read_at,
            mark,
            read_ms: now_ms.saturating_sub(age_ms),
            expires_ms: now_ms + ttl_ms.saturating_sub(age_ms),
        })
    }

    async fn past_cache(&self, pilot: &Pilot) -> Landed {
        // Everybody's reads may come this way at once.
        let Ok(turn) = tokio::time::timeout(LOAD_DEADLINE, self.0.past_turns.acquire()).await else {
            return Err(Kind::Unavailable.into());
        };
        let read = self.0.store.data(&pilot.key, LOAD_DEADLINE).await?;
        drop(turn);
        let (mut value, mut version) = (None, None);
        if let Some(DataView { data, media_type, version: found, .. }) = read.found {
            value = Some(Value::new(&data, media_type.as_ref()).ok_or(Kind::BadGateway)?);
            version = Some(found);
        }
        Ok(Arc::new(Entry {
            value,
            source: Source::Store,
            loaded: pilot.began,
            tags: Box::default(),
            version,
            read_at: read.read_at,
            mark: None,
            read_ms: clock::now_ms(),
            expires_ms: 0,
        }))
    }

    /// What is still held of a key, if it was current that long ago. It is no use of the near cache, and nothing is refreshed.
    fn stale(&self, key: &str, within: Duration) -> Option<Answered> {
        let parts = &self.0;
        let entry = parts.near.peek(key).filter(|entry| entry.value.is_some())?;
        let is_current = parts.coherence.is_current(entry.loaded, parts.coherence.key_stripe(key), &entry.tags);
        // When it was voided is not known; when the lease or its time ended is.
        let lease_until_ms = parts.coherence.valid_until_ms();
        let since_ms = if is_current { entry.expires_ms.min(lease_until_ms) } else { entry.read_ms };
        let stale_for = Duration::from_millis(clock::now_ms().saturating_sub(since_ms));
        let seconds = stale_for.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX);
        (stale_for <= within).then_some(Answered { entry, tier: Tier::Stale { seconds } })
    }
}

fn malformed(address: &chassis::config::Address, reason: &str) -> Error {
    Error::Malformed { address: address.clone(), reason: reason.to_owned() }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge of bytes needs no more than 52 bits")]
fn approximate(bytes: u64) -> f64 {
    bytes as f64
}
