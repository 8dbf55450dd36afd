//! What this gateway would answer for a key, for whoever asks through cache-svc. Looking fills and refreshes nothing.

use std::time::Duration;

use chassis::client::{Call, Error, segment};
use chassis::clock;
use chassis::http::{Json, Path, Rejection};
use chassis::shutdown::Shutdown;
use protocol::cache_api::key_of_path;
use protocol::ids::HolderId;
use protocol::inspection::{
    CacheDebug, INSPECTION_WAIT_MS_MAX, Inspected, InspectionAnswer, InspectionRequest, NearHeld, NearView,
};
use protocol::key::DataKey;

use super::Data;
use crate::openapi::CACHES;
use crate::openapi::problems::{Any, OfFence, OfParameters};
use crate::state::Gateway;

const ANSWER_WITHIN: Duration = Duration::from_millis(INSPECTION_WAIT_MS_MAX + 1_000);
/// Between tries while no sequencer answers.
const PAUSE: Duration = Duration::from_secs(1);

/// `GET /cache/debug/{key}`
#[utoipa::path(
    get, path = "/cache/debug/{key}", tag = CACHES, operation_id = "inspectKey",
    summary = "What each gateway would answer for a key",
    description = "Looking fills and refreshes nothing.",
    params(("key" = DataKey, Path, description = "Percent-encoded.", example = "my_data")),
    responses(
        (status = 200, description = "What the shared cache and each near cache hold.", body = CacheDebug),
        Any, OfParameters, OfFence,
    ),
)]
pub(crate) async fn debug(gateway: Gateway, Path(key): Path<String>) -> Result<Json<CacheDebug>, Rejection> {
    let key = gateway.caller.key(key_of_path(key)?, "/key")?;
    let answer = gateway.data.0.cache.peer().get(format!("/cache/debug/{}", segment(key.as_str()))).await?;
    Ok(Json(answer.body))
}

/// Answers what the sequencer asks, until the shutdown drains.
pub(super) async fn answer_inspections(data: Data, holder: HolderId, name: String, shutdown: Shutdown) {
    let answering = async {
        let mut answers = Vec::new();
        loop {
            match ask(&data, holder, std::mem::take(&mut answers)).await {
                Ok(InspectionAnswer { questions }) => {
                    let look = |question: &protocol::inspection::Question| data.view(&name, &question.key);
                    answers =
                        questions.iter().map(|question| Inspected { id: question.id, view: look(question) }).collect();
                }
                Err(error) => {
                    tracing::debug!(%error, "nobody asks what the near cache would serve");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = answering => {}
        () = shutdown.draining() => {}
    }
}

async fn ask(data: &Data, holder: HolderId, answers: Vec<Inspected>) -> Result<InspectionAnswer, Error> {
    let peer = data.0.cache.peer();
    let request = InspectionRequest { holder, answers, wait_ms: INSPECTION_WAIT_MS_MAX };
    // Answers that are told twice are taken once.
    let call = Call::post("/inspections", &request).map_err(|error| peer.unsendable(&error))?.repeatable();
    Ok(peer.call(&call.within(ANSWER_WITHIN)).await?.json()?.body)
}

impl Data {
    fn view(&self, name: &str, key: &str) -> NearView {
        let parts = &self.0;
        let now_ms = clock::now_ms();
        let lease = parts.coherence.lease_view();
        let stripe = parts.coherence.key_stripe(key);
        let held = parts.near.peek(key).map(|entry| {
            let current = parts.coherence.is_current(entry.loaded, stripe, &entry.tags);
            let expired = now_ms >= entry.expires_ms;
            NearHeld {
                would_serve: lease.valid && current && !expired,
                current,
                expired,
                absent: entry.value.is_none(),
                version: entry.version,
                read_at: entry.read_at,
                mark: entry.mark,
                loaded_from: entry.source,
                tags: entry.tags.len(),
                age_ms: now_ms.saturating_sub(entry.read_ms),
                generations: parts.coherence.generations_view(entry.loaded, stripe),
            }
        });
        NearView { gateway: name.to_owned(), lease, held }
    }
}
