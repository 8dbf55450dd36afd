//! Keeps the near lease: one renewal after the other, each answered on news or after half a second. Correctness rests on it alone; the
//! announcements on the fanout exchange only make it fast.

use std::sync::Arc;
use std::time::Duration;

use chassis::broker::{Broker, Event};
use chassis::client::{CacheClient, Call, Error};
use chassis::health::Health;
use chassis::shutdown::Shutdown;
use protocol::cache_api::{RENEWAL_WAIT_MS_MAX, RenewalAnswer, RenewalRequest};
use protocol::envelope::Invalidated;
use protocol::invalidation::near::Taken;
use protocol::topology::CACHE_INVALIDATED;
use tokio::time::Instant;

use super::coherence::Coherence;

/// A renewal that is not answered by then is given up and another one sent: half a second after it should have been.
const GIVE_UP: Duration = Duration::from_millis(RENEWAL_WAIT_MS_MAX + 500);
/// Between tries while no sequencer answers.
const PAUSE: Duration = Duration::from_millis(100);
/// Without a renewal for so long the cache counts as lost: about a lease, or what a sequencer needs to start.
const MISSED_MAX: Duration = Duration::from_secs(2);
/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// Renews until the shutdown drains, then gives the lease back.
pub(super) async fn renew(coherence: Arc<Coherence>, cache: CacheClient, health: Health, shutdown: Shutdown) {
    let mut missed_since = Instant::now();
    let renewing = async {
        loop {
            match renew_once(&coherence, &cache).await {
                Ok(()) => {
                    health.found("cache");
                    missed_since = Instant::now();
                }
                Err(error) => {
                    metrics::counter!("longshore_near_renewal_failures_total", "program" => "gateway").increment(1);
                    if missed_since.elapsed() > MISSED_MAX {
                        health.lost("cache", error.to_string());
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = renewing => {}
        () = shutdown.draining() => {}
    }
    let goodbye = coherence.leave();
    if let Err(error) = post(&cache, &goodbye, GOODBYE).await {
        // Fences wait for the end of the lease then, which is bounded.
        tracing::debug!(%error, "the near lease was not given back");
    }
}

async fn renew_once(coherence: &Coherence, cache: &CacheClient) -> Result<(), Error> {
    let (ticket, request) = coherence.begin(RENEWAL_WAIT_MS_MAX);
    let answer = post(cache, &request, GIVE_UP).await?;
    match coherence.answered(ticket, &answer) {
        Taken::Applied { entries } => {
            let entries = u64::try_from(entries).unwrap_or(u64::MAX);
            metrics::counter!("longshore_near_invalidations_total", "program" => "gateway").increment(entries);
        }
        Taken::Flushed => {
            tracing::info!(epoch = answer.term.epoch.0, through = answer.through.0, "the near cache was flushed");
            metrics::counter!("longshore_near_flushes_total", "program" => "gateway").increment(1);
        }
        Taken::Abandoned => {}
    }
    Ok(())
}

async fn post(cache: &CacheClient, request: &RenewalRequest, deadline: Duration) -> Result<RenewalAnswer, Error> {
    let peer = cache.peer();
    let call = Call::post("/renewals", request).map_err(|error| peer.unsendable(&error))?.within(deadline);
    Ok(peer.call(&call).await?.json()?.body)
}

/// Applies what the sequencer announces, ahead of the renewal that carries it. What is missed here does no harm.
pub(super) async fn follow(coherence: Arc<Coherence>, broker: Broker, shutdown: Shutdown) {
    let mut announcements = broker.subscribe(CACHE_INVALIDATED);
    let following = async {
        loop {
            let Event::Message(body) = announcements.next().await else { continue };
            let outcome = match Invalidated::decode(&body) {
                Ok(event) if coherence.announced(&event) => "applied",
                Ok(_) => "other-epoch",
                Err(reason) => reason.label(),
            };
            metrics::counter!("longshore_near_announcements_total", "program" => "gateway", "outcome" => outcome)
                .increment(1);
        }
    };
    tokio::select! {
        () = following => {}
        () = shutdown.draining() => {}
    }
}
