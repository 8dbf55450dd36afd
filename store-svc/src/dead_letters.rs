//! Takes in what the broker gave up on: bells past their delivery limit are rung again by their rows, the rest is parked.

use std::time::Duration;

use chassis::broker::{Broker, Delivery, Verdict};
use protocol::envelope::Bell;
use protocol::store_api::{BellFates, BellId, Command};
use protocol::tenant::Tenant;
use protocol::topology::{JOBS_DEAD, JOBS_REJECTED};

use crate::writer::Writer;

/// Between tries while the broker or the writer does not take it.
const PAUSE: Duration = Duration::from_millis(500);

/// Consumes `jobs.dead` for ever. A bell there was delivered fifty times and never acknowledged: its place is freed, and its row is rung
/// again if it still waits under it.
pub(crate) async fn triage(broker: Broker, writer: Writer) {
    let mut dead = broker.consume(JOBS_DEAD);
    loop {
        let delivery = dead.next().await;
        match Bell::decode(&delivery.body) {
            Ok(bell) => {
                tracing::warn!(job_id = %bell.job_id, dispatch = bell.dispatch.0, "a bell came back dead");
                ring_again(&writer, BellId { job_id: bell.job_id, dispatch: bell.dispatch }).await;
                delivery.ack();
                count("rung-again");
            }
            Err(rejection) => {
                tracing::warn!(reason = %rejection, "a dead letter is no bell and parked");
                park(&broker, delivery, &rejection.to_string()).await;
                count(rejection.label());
            }
        }
    }
}

async fn ring_again(writer: &Writer, bell: BellId) {
    let fates = BellFates { sent: Vec::new(), ring_again: vec![bell] };
    while let Err(error) = writer.apply(Tenant::default(), vec![Command::Bells(fates.clone())]).await {
        tracing::warn!(%error, "a dead bell is not noted yet");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Puts it aside before it is acknowledged.
async fn park(broker: &Broker, delivery: Delivery, reason: &str) {
    while broker.park(JOBS_REJECTED, &delivery, reason).await != Verdict::Sent {
        tokio::time::sleep(PAUSE).await;
    }
    delivery.ack();
}

fn count(outcome: &'static str) {
    metrics::counter!("longshore_store_dead_letters_total", "outcome" => outcome).increment(1);
}
