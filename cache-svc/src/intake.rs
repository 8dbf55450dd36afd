//! Takes in invalidations that anyone publishes to `cache.invalidate`. Consumes only as sequencer; what is not understood is parked.

use std::sync::Arc;
use std::time::Duration;

use chassis::broker::{Broker, Delivery, Verdict};
use chassis::shutdown::Shutdown;
use protocol::envelope::{Covered, Rejection};
use protocol::topology::{CACHE_INTAKE, CACHE_REJECTED};

use crate::announce::Announcer;
use crate::seat::Seat;

/// How often a standby looks whether it has become sequencer, and a sequencer whether it still is one.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between tries to park.
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) struct Intake {
    pub(crate) seat: Arc<Seat>,
    pub(crate) broker: Broker,
    pub(crate) announcer: Announcer,
}

impl Intake {
    /// Runs until the shutdown drains.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        tokio::select! {
            () = self.take_in() => {}
            () = shutdown.draining() => {}
        }
    }

    async fn take_in(&self) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            while !self.seat.holds() {
                look.tick().await;
            }
            let mut consumer = self.broker.consume(CACHE_INTAKE);
            while self.seat.holds() {
                tokio::select! {
                    delivery = consumer.next() => self.handle(delivery).await,
                    _ = look.tick() => {}
                }
            }
            consumer.pause().await;
        }
    }

    async fn handle(&self, delivery: Delivery) {
        match Covered::decode(&delivery.body) {
            Ok(covered) => match self.seat.issue(covered) {
                Ok(issued) => {
                    self.announcer.announce(&issued);
                    delivery.ack();
                    count("sequenced");
                }
                // The lease ended in between: for the next sequencer.
                Err(_) => delivery.requeue(),
            },
            Err(rejection) => self.park(delivery, &rejection).await,
        }
    }

    /// Puts it aside before it is acknowledged: nothing that somebody published is lost.
    async fn park(&self, delivery: Delivery, rejection: &Rejection) {
        tracing::warn!(reason = %rejection, "an invalidation is not understood and parked");
        while self.broker.park(CACHE_REJECTED, &delivery, &rejection.to_string()).await != Verdict::Sent {
            tokio::time::sleep(PAUSE).await;
        }
        count(rejection.label());
        delivery.ack();
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("longshore_intake_total", "program" => "cache-svc", "outcome" => outcome).increment(1);
}
