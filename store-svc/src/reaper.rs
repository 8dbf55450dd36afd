//! The loops that act when time has passed: leases and sessions that stood still, rows that are due, what is old enough to be trimmed.

use std::sync::Arc;
use std::time::Duration;

use protocol::ids::SessionId;
use protocol::lease::{Held, Standstill};
use protocol::store_api::{IDEMPOTENCY_KEY_MS, JobFence};
use tokio::time::MissedTickBehavior;

use crate::hub::Hub;
use crate::readers::Readers;
use crate::storage::{Reader, StorageError};
use crate::writer::{WriteError, Writer};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A session ends when its heartbeat stood still for this long (and the margin of a lease), ms.
pub(crate) const SESSION_TTL_MS: u64 = 15_000;
/// Due rows in one transaction.
const DUE_ROWS: u32 = 256;
/// The longest sleep until the next due time: the wall clock may step forward meanwhile.
const DUE_LOOK: Duration = Duration::from_secs(5);
const TRIM_EVERY: Duration = Duration::from_secs(30);
/// Rows dropped in one transaction.
const TRIM_ROWS: u32 = 2_000;

/// Ends what stood still: leases of jobs, and sessions.
pub(crate) async fn reap(readers: Readers, writer: Writer) {
    let mut reaper = Reaper { readers, writer, leases: Standstill::default(), sessions: Standstill::default() };
    let mut last_ms = chassis::clock::now_ms();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now_ms = chassis::clock::now_ms();
        if let Err(error) = reaper.look(now_ms.saturating_sub(last_ms)).await {
            tracing::warn!(error = format!("{error:#}"), "the reaper could not look");
        }
        last_ms = now_ms;
    }
}

struct Reaper {
    readers: Readers,
    writer: Writer,
    leases: Standstill<JobFence>,
    sessions: Standstill<SessionId>,
}

impl Reaper {
    async fn look(&mut self, passed_ms: u64) -> anyhow::Result<()> {
        let (leases, sessions) = self.readers.read(held).await?;
        let sessions = sessions.into_iter().map(|(key, renewal)| Held { key, renewal, lease_ms: SESSION_TTL_MS });
        for lease in self.leases.look(passed_ms, leases) {
            if self.writer.step(move |transitions| transitions.reap(lease.key, lease.renewal)).await? {
                tracing::info!(job_id = %lease.key.job_id, fence = %lease.key.fence, "a lease ended: its worker is gone");
            }
        }
        for session in self.sessions.look(passed_ms, sessions) {
            if self.writer.step(move |transitions| transitions.expire_session(session.key, session.renewal)).await? {
                tracing::info!(session = %session.key, "a session ended: its worker is gone");
            }
        }
        Ok(())
    }
}

type Watched = (Vec<Held<JobFence>>, Vec<(SessionId, u64)>);

fn held(reader: &mut dyn Reader) -> Result<Watched, StorageError> {
    Ok((reader.leases()?, reader.sessions()?))
}

/// Queues rows when their time has come.
pub(crate) async fn queue_due(readers: Readers, writer: Writer, hub: Arc<Hub>) {
    let mut next = hub.due_ms.subscribe();
    loop {
        // Whatever is scheduled from here on lowers it again.
        hub.due_ms.send_replace(i64::MAX);
        let queued = queue_all_due(&readers, &writer, &hub).await;
        if let Err(error) = queued {
            tracing::warn!(error = format!("{error:#}"), "due rows could not be queued");
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        loop {
            let due_ms = *next.borrow_and_update();
            let wait_ms = due_ms.saturating_sub(chassis::clock::wall_ms());
            if wait_ms <= 0 {
                break;
            }
            let wait = Duration::from_millis(wait_ms.unsigned_abs()).min(DUE_LOOK);
            tokio::select! {
                () = tokio::time::sleep(wait), if due_ms != i64::MAX => {}
                changed = next.changed() => if changed.is_err() { return },
            }
        }
    }
}

async fn queue_all_due(readers: &Readers, writer: &Writer, hub: &Hub) -> anyhow::Result<()> {
    while writer.step(|transitions| transitions.due(DUE_ROWS)).await? {}
    if let Some(due_ms) = readers.read(|reader| reader.next_due_ms()).await? {
        hub.expect_due(due_ms);
    }
    Ok(())
}

/// Drops what has been kept long enough.
pub(crate) async fn trim(writer: Writer, log_kept: Duration) {
    let log_kept_ms = i64::try_from(log_kept.as_millis()).unwrap_or(i64::MAX);
    loop {
        tokio::time::sleep(TRIM_EVERY).await;
        let now_ms = chassis::clock::wall_ms();
        if let Err(error) = trim_all(&writer, now_ms - log_kept_ms, now_ms - IDEMPOTENCY_KEY_MS).await {
            tracing::warn!(%error, "could not trim");
        }
    }
}

async fn trim_all(writer: &Writer, log_before_ms: i64, keys_before_ms: i64) -> Result<(), WriteError> {
    while writer.step(move |transitions| transitions.trim_log(log_before_ms, TRIM_ROWS)).await? {}
    while writer.step(move |transitions| transitions.trim_keys(keys_before_ms, TRIM_ROWS)).await? {}
    Ok(())
}
