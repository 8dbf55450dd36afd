//! The sequencer's life: asks the store for the lease, follows the log while it holds it, stands by while it does not. It never exits for
//! that, so that no restart policy makes two take turns.

use std::sync::Arc;
use std::time::Duration;

use chassis::client::Error;
use chassis::clock;
use chassis::fault_points::{FaultPoint, fault_point};
use chassis::health::Health;
use chassis::shutdown::Shutdown;
use protocol::envelope::Covered;
use protocol::invalidation::Term;
use protocol::invalidation::sequencer::Grant;
use protocol::problem::Kind;
use protocol::store_api::{Change, LogPage, SequencerAnswer};

use crate::announce::Announcer;
use crate::seat::Seat;
use crate::store::Store;

/// Between tries while the store is away.
const PAUSE: Duration = Duration::from_millis(100);
/// A standby asks at least so often.
const STANDBY_MAX: Duration = Duration::from_millis(500);

pub(crate) struct Tenure {
    pub(crate) seat: Arc<Seat>,
    pub(crate) store: Store,
    pub(crate) announcer: Announcer,
    pub(crate) health: Health,
}

impl Tenure {
    /// Holds the seat, or stands by, until the shutdown drains; then the lease is given back.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut held = None;
        tokio::select! {
            () = self.hold(&mut held) => {}
            () = shutdown.draining() => {}
        }
        if let Some(term) = held {
            // First it stops to act as sequencer, then it says so.
            self.seat.end(term);
            if let Err(error) = self.store.give_back(term).await {
                tracing::warn!(%error, "the sequencer's lease was not given back; a standby must wait until it ends");
            }
        }
    }

    async fn hold(&self, held: &mut Option<Term>) {
        loop {
            let sent_ms = clock::now_ms();
            match self.store.acquire().await {
                Ok((incarnation, SequencerAnswer::Granted { epoch, lease_ms, head, fenced_through, predecessor })) => {
                    let term = Term { incarnation, epoch };
                    self.health.found("store");
                    tracing::info!(epoch = epoch.0, head = head.0, predecessor, "sequencer");
                    *held = Some(term);
                    self.seat.granted(&Grant { term, lease_ms, head, fenced_through, predecessor }, sent_ms);
                    metrics::gauge!("longshore_sequencer", "program" => "cache-svc").set(1.0);
                    self.follow(term).await;
                    self.seat.end(term);
                    *held = None;
                    metrics::gauge!("longshore_sequencer", "program" => "cache-svc").set(0.0);
                    tracing::warn!(epoch = epoch.0, "no longer sequencer");
                }
                Ok((_, SequencerAnswer::Held { retry_after_ms })) => {
                    self.health.found("store");
                    tokio::time::sleep(Duration::from_millis(retry_after_ms).clamp(PAUSE, STANDBY_MAX)).await;
                }
                Err(error) => self.lost(&error).await,
            }
        }
    }

    /// Follows the log until the term is over. While the store is away the lease runs out by itself, and may be renewed later if
    /// nobody else was granted one.
    async fn follow(&self, term: Term) {
        while let Some(cursor) = self.seat.cursor() {
            let sent_ms = clock::now_ms();
            match self.store.follow(term, cursor).await {
                Ok(page) if page.incarnation != term.incarnation || page.renewed != Some(true) => return,
                Ok(page) => {
                    self.health.found("store");
                    self.take(term, page);
                    // After its entries were taken: a lease that covers this instant has them sequenced.
                    self.seat.renewed(term, sent_ms);
                }
                Err(error) if error.kind() == Some(Kind::LogTrimmed) => return,
                Err(error) => self.lost(&error).await,
            }
        }
    }

    fn take(&self, term: Term, page: LogPage) {
        for entry in page.entries {
            let covered = match entry.change {
                Change::Data { key, .. } => Covered::key(key),
                Change::Invalidates { keys, .. } => {
                    Covered { keys: keys.into_iter().map(String::from).collect(), ..Covered::default() }
                }
                Change::Job { .. } | Change::Progress { .. } | Change::Queue { .. } => continue,
            };
            fault_point(FaultPoint::CacheBeforeSequence);
            if let Some(issued) = self.seat.issue_logged(term, entry.position, covered) {
                self.announcer.announce(&issued);
            }
        }
        self.seat.read_through(term, page.position);
    }

    async fn lost(&self, error: &Error) {
        self.health.lost("store", error.to_string());
        tokio::time::sleep(PAUSE).await;
    }
}
