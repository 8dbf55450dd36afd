//! Watches over the bells that are out, by our own monotonic time: creators that did not say "sent", and bells that were lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chassis::broker::Broker;
use protocol::dispatch::{BELL_TIMEOUT_MS, CREATOR_MS};
use protocol::lease::LOOK_MAX_MS;
use protocol::topology::jobs_queue;

use crate::hub::Hub;
use crate::readers::Readers;
use crate::storage::{BellSeq, OutstandingBells};
use crate::writer::Writer;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How old bells are, without a time for each: at each look the highest number given out so far.
#[derive(Debug, Default)]
struct Ages {
    /// Time spent looking, ms. A look counts at most two seconds: while we were stopped, claims may have waited at our door.
    watched_ms: u64,
    samples: VecDeque<(u64, BellSeq)>,
}

impl Ages {
    fn look(&mut self, passed_ms: u64, given_out: BellSeq) {
        self.watched_ms += passed_ms.min(LOOK_MAX_MS);
        self.samples.push_back((self.watched_ms, given_out));
        // One sample older than the longest age is enough.
        while self.samples.get(1).is_some_and(|(at, _)| self.watched_ms - at >= BELL_TIMEOUT_MS) {
            self.samples.pop_front();
        }
    }

    /// All bells up to this one are at least so old.
    fn older_than(&self, age_ms: u64) -> BellSeq {
        let old = self.samples.iter().take_while(|(at, _)| self.watched_ms - at >= age_ms);
        old.last().map_or(BellSeq(0), |(_, seq)| *seq)
    }
}

/// Looks every second while bells are out, else not at all.
pub(crate) async fn watch(broker: Broker, hub: Arc<Hub>, writer: Writer, readers: Readers) {
    let mut given_out = hub.bells.subscribe();
    let mut ages = Ages::default();
    let mut last_ms = chassis::clock::now_ms();
    let watch = Watch { broker, hub, writer, readers };
    loop {
        let now_ms = chassis::clock::now_ms();
        let seq = *given_out.borrow_and_update();
        ages.look(now_ms.saturating_sub(last_ms), seq);
        last_ms = now_ms;
        let out = watch.look(&ages).await;
        if out {
            tokio::time::sleep(LOOK_EVERY).await;
        } else if given_out.changed().await.is_err() {
            return;
        } else {
            last_ms = chassis::clock::now_ms();
        }
    }
}

struct Watch {
    broker: Broker,
    hub: Arc<Hub>,
    writer: Writer,
    readers: Readers,
}

impl Watch {
    /// `true`: bells are out.
    async fn look(&self, ages: &Ages) -> bool {
        let outstanding = match self.readers.read(|reader| reader.outstanding()).await {
            Ok(outstanding) => outstanding,
            Err(error) => {
                tracing::warn!(%error, "the bells that are out are not known");
                return true;
            }
        };
        for queue in &outstanding {
            let count = u32::try_from(queue.count).unwrap_or(u32::MAX);
            metrics::gauge!("longshore_store_bells_out", "queue" => queue.queue.clone()).set(f64::from(count));
        }
        if outstanding.iter().any(|queue| queue.unsent > 0) {
            self.take_over(ages.older_than(CREATOR_MS)).await;
        }
        let aged = ages.older_than(BELL_TIMEOUT_MS);
        for queue in outstanding.iter().filter(|queue| queue.lowest <= aged) {
            self.lose(queue, aged).await;
        }
        !outstanding.is_empty()
    }

    async fn take_over(&self, through: BellSeq) {
        match self.writer.step(move |transitions| transitions.take_over(through)).await {
            Ok(bells) => self.hub.outbox.put(bells),
            Err(error) => tracing::warn!(%error, "bells of creators were not taken over"),
        }
    }

    async fn lose(&self, queue: &OutstandingBells, aged: BellSeq) {
        let empty = self.broker.depth(&jobs_queue(&queue.queue)).await == Some(0);
        if !empty && queue.claimed_through <= queue.lowest {
            return;
        }
        let name = queue.queue.clone();
        match self.writer.step(move |transitions| transitions.lose_bells(&name, aged, empty)).await {
            Ok(0) => {}
            Ok(lost) => tracing::info!(queue = queue.queue, lost, "bells were lost and will be rung again"),
            Err(error) => tracing::warn!(%error, "lost bells were not freed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_counted_in_looks() {
        let mut ages = Ages::default();
        for second in 1..=20_u64 {
            ages.look(1_000, BellSeq(second));
        }
        assert_eq!(ages.older_than(2_000), BellSeq(18));
        assert_eq!(ages.older_than(15_000), BellSeq(5));
        assert_eq!(ages.samples.len(), 16);
    }

    #[test]
    fn a_pause_of_ours_does_not_age_bells() {
        let mut ages = Ages::default();
        ages.look(0, BellSeq(1));
        ages.look(3_600_000, BellSeq(2));
        assert_eq!(ages.older_than(15_000), BellSeq(0));
        assert_eq!(ages.older_than(2_000), BellSeq(1));
    }
}
