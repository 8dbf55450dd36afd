//! `GET /data` and `GET /data/{key}`: near cache, then cache-svc, then the store.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chassis::client::{Call, Error, segment};
use chassis::clock;
use chassis::flights;
use chassis::http::{Path, Rejection};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use protocol::cache_api::{ReadAnswer, Source, key_of_path};
use protocol::invalidation::near::Tick;
use protocol::problem::Kind;
use protocol::store_api::DataView;

use super::entry::{Entry, Value};
use super::{DEFAULT_KEY, Data};
use crate::conditional::is_known;
use crate::state::Gateway;

/// RFC 9211; the first member is the tier closest to the store.
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// How long a load may take at cache-svc, and then again at the store.
const LOAD_DEADLINE: Duration = Duration::from_secs(2);

/// What a load brings.
pub(super) type Landed = Result<Arc<Entry>, Rejection>;
type Pilot = flights::Pilot<Tick, Landed>;

/// How a read was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    Near,
    /// Loaded, by this request or one that it joined.
    Loaded {
        joined: bool,
    },
}

/// `GET /data`
pub(crate) async fn default_key(State(gateway): State<Gateway>, headers: HeaderMap) -> Result<Response, Rejection> {
    get(&gateway.data, DEFAULT_KEY, &headers).await
}

/// `GET /data/{key}`
pub(crate) async fn key(
    State(gateway): State<Gateway>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Rejection> {
    let key = key_of_path(key)?;
    get(&gateway.data, key.as_str(), &headers).await
}

async fn get(data: &Data, key: &str, headers: &HeaderMap) -> Result<Response, Rejection> {
    let (entry, tier) = data.read(key).await?;
    let Some(value) = &entry.value else {
        return Err(Kind::NotFound.detail("There is no data under this key.").into());
    };
    let cached = tier == Tier::Near || entry.source == Source::Shared;
    let body = if cached { &value.cached } else { &value.fresh };
    let fixed = [
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (CACHE_STATUS, cache_status(tier, entry.source)),
        (ETAG, value.tag.clone()),
    ];
    if is_known(value.tag.as_bytes(), headers) {
        return Ok((StatusCode::NOT_MODIFIED, fixed).into_response());
    }
    let json = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((StatusCode::OK, fixed, json, body.clone()).into_response())
}

fn cache_status(tier: Tier, source: Source) -> HeaderValue {
    HeaderValue::from_static(match (tier, source) {
        (Tier::Near, _) => "longshore-near; hit",
        (Tier::Loaded { joined: false }, Source::Shared) => "longshore-shared; hit, longshore-near; fwd=miss",
        (Tier::Loaded { joined: true }, Source::Shared) => "longshore-shared; hit, longshore-near; fwd=miss; collapsed",
        (Tier::Loaded { joined: false }, Source::Store) => "longshore-shared; fwd=miss, longshore-near; fwd=miss",
        (Tier::Loaded { joined: true }, Source::Store) => {
            "longshore-shared; fwd=miss, longshore-near; fwd=miss; collapsed"
        }
    })
}

impl Data {
    async fn read(&self, key: &str) -> Result<(Arc<Entry>, Tier), Rejection> {
        let parts = &self.0;
        let may_serve = parts.coherence.may_serve();
        let stripe = parts.coherence.key_stripe(key);
        if may_serve
            && let Some(entry) = parts.near.get(key)
            && clock::now_ms() < entry.expires_ms
            && parts.coherence.is_current(entry.loaded, stripe, &entry.tags)
        {
            parts.reads.near();
            return Ok((entry, Tier::Near));
        }
        let began = parts.coherence.now();
        let may_join = |began| parts.coherence.may_join(began, stripe, may_serve);
        let mut boarded = parts.flights.board(key, began, may_join);
        let pilot = boarded.pilot.take();
        let joined = pilot.is_none();
        if let Some(pilot) = pilot {
            parts.tasks.spawn("data load", self.clone().load(pilot));
        }
        let entry = boarded.landed().await.unwrap_or_else(|| Err(Kind::Unavailable.into()))?;
        parts.reads.loaded(entry.source);
        Ok((entry, Tier::Loaded { joined }))
    }

    async fn load(self, pilot: Pilot) {
        let landed = match self.through_cache(&pilot).await {
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

    async fn through_cache(&self, pilot: &Pilot) -> Result<Entry, Error> {
        let call = Call::get(format!("/read/{}", segment(&pilot.key))).within(LOAD_DEADLINE);
        let answer: ReadAnswer = self.0.cache.peer().call(&call).await?.json()?.body;
        let tags = answer.tags.iter().map(|tag| self.0.coherence.tag_stripe(tag)).collect();
        Ok(Entry {
            value: answer.found.then(|| Value::new(&answer.data)),
            source: answer.source,
            loaded: pilot.began,
            tags,
            expires_ms: clock::now_ms() + answer.ttl_ms.saturating_sub(answer.age_ms),
        })
    }

    async fn past_cache(&self, pilot: &Pilot) -> Landed {
        let call = Call::get(format!("/data/{}", segment(&pilot.key))).within(LOAD_DEADLINE);
        let value = match self.0.store.peer().call(&call).await {
            Ok(answer) => Some(Value::new(&answer.json::<DataView>()?.body.data)),
            Err(error) if error.kind() == Some(Kind::NotFound) => None,
            Err(error) => return Err(error.into()),
        };
        let entry = Entry { value, source: Source::Store, loaded: pilot.began, tags: Box::default(), expires_ms: 0 };
        Ok(Arc::new(entry))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge of bytes needs no more than 52 bits")]
fn approximate(bytes: u64) -> f64 {
    bytes as f64
}
