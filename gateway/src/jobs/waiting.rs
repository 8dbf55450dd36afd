//! `Prefer: wait=N`: holds an answer until the job has ended or the time is over, at one read before and one after.

use std::time::Duration;

use chassis::client::Error;
use protocol::ids::JobId;
use tokio::time::Instant;

use super::seen::Seen;
use super::waiters::{Sight, Ticket};
use crate::state::Gateway;

/// How a wait went.
#[derive(Debug)]
pub(super) enum Waited {
    /// Ended, or the time is over: the job as it was seen last.
    Seen(Seen),
    /// All places of waiters are taken, and it has not ended.
    Full,
}

/// Waits for the job's end.
///
/// # Errors
/// Of the first or the last read of the job.
pub(super) async fn until_ended(gateway: &Gateway, job_id: JobId, wait: Duration) -> Result<Waited, Error> {
    let waited = wait_until_ended(gateway, job_id, wait).await;
    let outcome = match &waited {
        Ok(Waited::Seen(seen)) if seen.is_terminal() => "ended",
        Ok(Waited::Seen(_)) => "time_over",
        Ok(Waited::Full) => "refused",
        Err(_) => "failed",
    };
    metrics::counter!("longshore_waits_total", "program" => "gateway", "outcome" => outcome).increment(1);
    waited
}

async fn wait_until_ended(gateway: &Gateway, job_id: JobId, wait: Duration) -> Result<Waited, Error> {
    let deadline = Instant::now() + wait;
    loop {
        let ticket = gateway.waiters.register(job_id);
        let seen = Seen::read(&gateway.store, job_id).await?;
        if seen.is_terminal() || Instant::now() >= deadline || gateway.shutdown.is_draining() {
            return Ok(Waited::Seen(seen));
        }
        let Some(ticket) = ticket else { return Ok(Waited::Full) };
        // The bytes are not kept while waiting: thousands may wait.
        if let Some(seen) = hold(gateway, ticket, seen, deadline).await? {
            return Ok(Waited::Seen(seen));
        }
    }
}

/// Waits with a ticket. `Some` if it need not be continued, `None` if the job must be read again.
async fn hold(gateway: &Gateway, mut ticket: Ticket, seen: Seen, deadline: Instant) -> Result<Option<Seen>, Error> {
    let Some(mut place) = seen.place else { return Ok(Some(seen)) };
    drop(seen);
    while ticket.saw(place) == Sight::ReadAgain {
        let seen = Seen::read(&gateway.store, ticket.job_id()).await?;
        match seen.place {
            Some(_) if seen.is_terminal() => return Ok(Some(seen)),
            Some(newer) => place = newer,
            None => return Ok(Some(seen)),
        }
    }
    tokio::select! {
        () = ticket.woken() => {}
        () = tokio::time::sleep_until(deadline) => {}
        () = gateway.shutdown.draining() => {}
    }
    Ok(None)
}
