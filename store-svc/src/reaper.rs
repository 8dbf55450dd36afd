//! The loops that act when time has passed: leases and sessions that stood still, rows that are due, what is old enough to be trimmed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use protocol::ids::SessionId;
use protocol::lease::{Held, Standstill};
use protocol::schedule::ClockWatch;
use protocol::store_api::{IDEMPOTENCY_KEY_MS, JobFence};
use tokio::time::MissedTickBehavior;

use crate::hub::Hub;
use crate::readers::Readers;
use crate::storage::{Reader, StorageError};
use crate::writer::Writer;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Leases are looked at more often: what a look comes late, the next owner comes late twice, as standing still is counted in looks.
const LEASES_LOOK_EVERY: Duration = Duration::from_millis(500);
/// A session ends when its heartbeat stood still for this long (and the margin of a lease), ms.
pub(crate) const SESSION_TTL_MS: u64 = 15_000;
/// Due rows in one transaction.
const DUE_ROWS: u32 = 256;
/// The longest sleep until the next due time: the wall clock may step forward meanwhile.
const DUE_LOOK: Duration = Duration::from_secs(5);
const TRIM_EVERY: Duration = Duration::from_secs(30);
/// Rows dropped in one transaction.
const TRIM_ROWS: u32 = 2_000;
/// Jobs dropped in one transaction: each is several rows, in as many places.
const EXPIRED_ROWS: u32 = 256;

/// Ends what stood still: leases of jobs, and sessions.
pub(crate) async fn reap(readers: Readers, writer: Writer) {
    let mut reaper = Reaper { readers, writer, leases: Standstill::default(), sessions: Standstill::default() };
    let mut last_ms = chassis::clock::now_ms();
    let mut ticks = tokio::time::interval(LEASES_LOOK_EVERY);
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
        // A worker that dies leaves many: side by side they share commits.
        let (leases, sessions) = (self.leases.look(passed_ms, leases), self.sessions.look(passed_ms, sessions));
        try_join_all(leases.into_iter().map(|lease| self.end_lease(lease))).await?;
        try_join_all(sessions.into_iter().map(|session| self.end_session(session))).await?;
        Ok(())
    }

    async fn end_lease(&self, lease: Held<JobFence>) -> anyhow::Result<()> {
        if self.writer.step(move |transitions| transitions.reap(lease.key, lease.renewal)).await? {
            tracing::info!(job_id = %lease.key.job_id, fence = %lease.key.fence, "a lease ended: its worker is gone");
        }
        Ok(())
    }

    async fn end_session(&self, session: Held<SessionId>) -> anyhow::Result<()> {
        if self.writer.step(move |transitions| transitions.expire_session(session.key, session.renewal)).await? {
            tracing::info!(session = %session.key, "a session ended: its worker is gone");
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
    let mut clocks = ClockWatch::default();
    let mut recount = true;
    loop {
        // Whatever is scheduled from here on lowers it again.
        hub.due_ms.send_replace(i64::MAX);
        recount |= clocks.was_put_back(chassis::clock::wall_ms(), chassis::clock::now_ms());
        let queued = queue_all_due(&readers, &writer, &hub, &mut recount).await;
        if let Err(error) = queued {
            tracing::warn!(error = format!("{error:#}"), "due rows could not be queued");
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        loop {
            let due_ms = *next.borrow_and_update();
            let wait_ms = due_ms.saturating_sub(chassis::clock::wall_ms());
            recount |= clocks.was_put_back(chassis::clock::wall_ms(), chassis::clock::now_ms());
            if wait_ms <= 0 || recount {
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

async fn queue_all_due(readers: &Readers, writer: &Writer, hub: &Hub, recount: &mut bool) -> anyhow::Result<()> {
    if *recount {
        writer.step(|transitions| transitions.recount_ticks()).await?;
        *recount = false;
    }
    while writer.step(|transitions| transitions.due(DUE_ROWS)).await? {}
    if let Some(due_ms) = readers.read(|reader| reader.next_due_ms()).await? {
        hub.expect_due(due_ms);
    }
    Ok(())
}

/// How long and how much is kept of what only grows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) log_ms: i64,
    /// Ended jobs: so long, and so many.
    pub(crate) jobs_ms: i64,
    pub(crate) jobs: u64,
    pub(crate) tombstones_ms: i64,
    pub(crate) tombstones: u64,
    /// Deliveries to webhooks that have ended.
    pub(crate) deliveries_ms: i64,
}

/// Drops what has been kept long enough.
pub(crate) async fn trim(readers: Readers, writer: Writer, kept: Kept) {
    loop {
        tokio::time::sleep(TRIM_EVERY).await;
        if let Err(error) = trim_all(&readers, &writer, kept, chassis::clock::wall_ms()).await {
            tracing::warn!(error = format!("{error:#}"), "could not trim");
        }
    }
}

async fn trim_all(readers: &Readers, writer: &Writer, kept: Kept, now_ms: i64) -> anyhow::Result<()> {
    let Kept { log_ms, jobs_ms, jobs, tombstones_ms, tombstones, deliveries_ms } = kept;
    let log_before_ms = now_ms.saturating_sub(log_ms);
    while writer.step(move |transitions| transitions.trim_log(log_before_ms, TRIM_ROWS)).await? {}
    let keys_before_ms = now_ms - IDEMPOTENCY_KEY_MS;
    while writer.step(move |transitions| transitions.trim_keys(keys_before_ms, TRIM_ROWS)).await? {}
    let too_many = readers.read(move |reader| reader.ended_before(jobs)).await?;
    let jobs_before_ms = too_many.unwrap_or(i64::MIN).max(now_ms.saturating_sub(jobs_ms));
    while writer.step(move |transitions| transitions.expire(jobs_before_ms, EXPIRED_ROWS)).await? {}
    let before_ms = now_ms.saturating_sub(tombstones_ms);
    while writer.step(move |transitions| transitions.trim_tombstones(before_ms, tombstones, TRIM_ROWS)).await? {}
    let before_ms = now_ms.saturating_sub(deliveries_ms);
    while writer.step(move |transitions| transitions.trim_deliveries(before_ms, TRIM_ROWS)).await? {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use protocol::ids::JobId;
    use protocol::store_api::{Command, Create};
    use protocol::tenant::Tenant;

    use super::*;
    use crate::samples;
    use crate::storage::sqlite::Sqlite;
    use crate::storage::{JobRead, Settings};

    const DAY_MS: i64 = 24 * 3_600 * 1_000;

    fn create(number: usize) -> Command {
        Command::Create(Box::new(Create { idempotency_key: Some(number.to_string()), ..samples::create() }))
    }

    #[tokio::test]
    async fn ended_jobs_are_dropped_in_their_time_and_forgotten_in_theirs() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let storage = Sqlite::open(&folder.path().join("store.db"), "a test").expect("it opens");
        let readers = Readers::start(&storage).expect("it opens again");
        let settings = Arc::new(Settings { queues: ["default".to_owned()].into(), ..Settings::default() });
        let (writer, _ended) = Writer::start(Box::new(storage), settings, Arc::default()).expect("a thread");
        let count = usize::try_from(EXPIRED_ROWS).expect("small") + 10;
        let creates: Vec<Command> = (0..count).map(create).collect();
        let ids: Vec<JobId> = creates
            .iter()
            .filter_map(|command| if let Command::Create(create) = command { Some(create.job_id) } else { None })
            .collect();
        writer.apply(Tenant::default(), creates).await.expect("created");
        let (open, ended) = ids.split_first().expect("some");
        let cancels = ended.iter().map(|job_id| Command::Cancel { job_id: *job_id }).collect();
        writer.apply(Tenant::default(), cancels).await.expect("cancelled");
        let kept = Kept {
            log_ms: DAY_MS,
            jobs_ms: 7 * DAY_MS,
            jobs: 10_000,
            tombstones_ms: 30 * DAY_MS,
            tombstones: 100,
            deliveries_ms: DAY_MS,
        };
        let after = async |days: i64| {
            let now_ms = chassis::clock::wall_ms() + days * DAY_MS;
            trim_all(&readers, &writer, kept, now_ms).await.expect("trimmed");
            let (open, ended) = (*open, ended.to_vec());
            let reads = move |reader: &mut dyn Reader| {
                let mut seen = (0, 0);
                for job_id in ended {
                    match reader.job(&Tenant::default(), job_id)?.read {
                        JobRead::Job(..) => seen.0 += 1,
                        JobRead::Expired => seen.1 += 1,
                        JobRead::Unknown => {}
                    }
                }
                Ok((matches!(reader.job(&Tenant::default(), open)?.read, JobRead::Job(..)), seen))
            };
            readers.read(reads).await.expect("read")
        };
        assert_eq!(after(6).await, (true, (count - 1, 0)));
        assert_eq!(after(8).await, (true, (0, 100)), "as many tombstones as may be kept");
        assert_eq!(after(40).await, (true, (0, 0)));
    }
}
