//! Why a job does not run, or does: what the store knows about it, and the sentence that follows from it. Pure.

use serde::{Deserialize, Serialize};

use crate::access::KeyId;
use crate::api::{Status, WaitingFor};
use crate::ids::{Fence, JobId, Position, SessionId};
use crate::tenant::Tenant;
use crate::time::Timestamp;

/// Jobs ahead are counted up to this many; then there are more.
pub const AHEAD_MAX: u64 = 10_000;
/// The most workers that are listed; the numbers are of all.
pub const WORKERS_LISTED_MAX: usize = 20;

/// `GET /jobs/{id}/explain`. What does not apply is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Explanation {
    pub job_id: JobId,
    pub task: String,
    pub queue: String,
    pub status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<WaitingFor>,
    /// All of it in a sentence, for people.
    pub reason: String,
    /// Since when the queue is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<Timestamp>,
    /// When it is due, or offered again after a worker that does not know its task was given it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// When it fails if it has not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_by: Option<Timestamp>,
    /// What holds a queued job back though its turn may have come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_limit: Option<TenantLimit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_limit: Option<KeyLimit>,
    /// Of a queued job that some worker knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<QueuePosition>,
    /// Of a queued job: who could run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<Able>,
    /// Of a running one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Of one whose outcome is recorded and whose invalidations are not yet acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<WaitsForFence>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueuePosition {
    /// Jobs of the same tenant, and of the same API key if that has limits, that are offered to a worker before it.
    pub ahead: u64,
    /// `false`: there are more.
    pub exact: bool,
    /// It is offered to the workers already: the next free slot may take it.
    pub offered: bool,
}

/// A limit that operators set the job's tenant, and that is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TenantLimit {
    pub tenant: Tenant,
    #[serde(flatten)]
    pub reached: ReachedLimit,
}

/// A limit of the API key with which the job was submitted, and that is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyLimit {
    pub key_id: KeyId,
    #[serde(flatten)]
    pub reached: ReachedLimit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReachedLimit {
    /// Jobs that run now under the limit, or are offered to workers.
    pub running: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_max: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_second: Option<u32>,
    /// When its rate lets the next one start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Timestamp>,
}

/// Live workers that consume the job's queue and know its task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Able {
    pub sessions: u64,
    pub slots: u64,
    /// Slots that run a job now, also one of another queue.
    pub busy: u64,
    /// Workers that consume the queue, whatever they know.
    pub consumers: u64,
    /// At most 20 of them.
    pub listed: Vec<AbleWorker>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AbleWorker {
    pub session_id: SessionId,
    pub worker: String,
    pub slots: u64,
    pub busy: u64,
}

/// Who runs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = LeaseHeld))]
pub struct Lease {
    pub fence: Fence,
    pub lease_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// `None`: its session has ended, and its lease ends soon unless it comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    pub cancel_requested: bool,
}

/// Its end is shown when `fenced_through` has reached `position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WaitsForFence {
    pub position: Position,
    pub fenced_through: Position,
}

/// The sentence that says what the job waits for.
#[must_use]
pub fn reason(job: &Explanation) -> String {
    match (job.status, job.waiting_for) {
        (Status::Succeeded, _) => "It has succeeded.".to_owned(),
        (Status::Failed, _) => "It has failed; a retry opens its next run.".to_owned(),
        (Status::Cancelled, _) => "It was cancelled; a retry opens its next run.".to_owned(),
        (Status::Running, _) => running(job),
        (_, Some(WaitingFor::DueTime)) => match job.due_at {
            Some(due_at) => format!("It is due at {due_at}."),
            None => "It waits for its due time.".to_owned(),
        },
        (_, Some(WaitingFor::QueuePaused)) => {
            let since = job.paused_at.map(|since| format!(" since {since}")).unwrap_or_default();
            format!("The queue {} is paused{since}.", job.queue)
        }
        (_, Some(WaitingFor::Worker)) => without_worker(job),
        (_, Some(WaitingFor::Broker)) => {
            "The broker is away: nothing is offered to the workers until it is back.".to_owned()
        }
        (_, Some(WaitingFor::TenantLimit)) => for_its_tenant(job),
        (_, Some(WaitingFor::KeyLimit)) => for_its_key(job),
        (_, Some(WaitingFor::Slot) | None) => for_a_slot(job),
    }
}

fn running(job: &Explanation) -> String {
    if let Some(fence) = job.fence {
        return format!(
            "Its outcome is recorded; it has succeeded when every cache has let go of the keys that it invalidates: log position {}, \
             acknowledged through {}.",
            fence.position, fence.fenced_through
        );
    }
    let Some(lease) = &job.lease else { return "It runs.".to_owned() };
    match (&lease.worker, lease.cancel_requested) {
        (Some(worker), false) => format!("It runs at {worker}."),
        (Some(worker), true) => format!("It runs at {worker}, which is told to stop it."),
        (None, _) => {
            let lease_ms = lease.lease_ms;
            format!("Its worker is gone; it runs elsewhere when its lease of {lease_ms} ms has ended.")
        }
    }
}

fn without_worker(job: &Explanation) -> String {
    let consumers = job.workers.as_ref().map_or(0, |workers| workers.consumers);
    match consumers {
        0 => format!("No live worker consumes the queue {}.", job.queue),
        1 => format!("The one live worker of the queue {} does not know the task {}.", job.queue, job.task),
        _ => format!("None of the {consumers} live workers of the queue {} knows the task {}.", job.queue, job.task),
    }
}

fn for_its_tenant(job: &Explanation) -> String {
    match &job.tenant_limit {
        Some(TenantLimit { tenant, reached }) => may_not(&format!("The tenant {tenant}"), reached),
        None => "Its tenant has as many jobs running as it may.".to_owned(),
    }
}

fn for_its_key(job: &Explanation) -> String {
    match &job.key_limit {
        Some(KeyLimit { key_id, reached }) => may_not(&format!("The API key {key_id}"), reached),
        None => "Its API key has as many jobs running as it may.".to_owned(),
    }
}

fn may_not(who: &str, reached: &ReachedLimit) -> String {
    let ReachedLimit { running, running_max, rate_per_second, starts_at } = reached;
    match (running_max, rate_per_second, starts_at) {
        (Some(most), _, _) if running >= most => {
            format!("{who} may have {most} jobs running at once, and has {running}.")
        }
        (_, Some(rate), Some(at)) => format!("{who} may start {rate} jobs per second; the next one at {at}."),
        _ => format!("{who} may not start more jobs now."),
    }
}

fn for_a_slot(job: &Explanation) -> String {
    let Some(position) = job.position else { return "It waits for a free slot.".to_owned() };
    if position.offered {
        return "It is offered to the workers: the next free slot may take it.".to_owned();
    }
    let before = match (position.exact, position.ahead) {
        (true, 0) => "no job is".to_owned(),
        (true, 1) => "1 job is".to_owned(),
        (true, ahead) => format!("{ahead} jobs are"),
        (false, ahead) => format!("more than {ahead} jobs are"),
    };
    let slots = job.workers.as_ref().map_or(String::new(), |able| {
        format!("; of the {} slots that could run it {} are busy", able.slots, able.busy)
    });
    let again = job.due_at.map_or(String::new(), |at| {
        format!("; a worker that does not know its task was given it, so it is offered again at {at}")
    });
    format!("It waits for a free slot: {before} ahead of it{slots}{again}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(status: Status, waiting_for: Option<WaitingFor>) -> Explanation {
        Explanation {
            job_id: JobId::generate(),
            task: "report_1".to_owned(),
            queue: "default".to_owned(),
            status,
            waiting_for,
            reason: String::new(),
            paused_at: None,
            due_at: None,
            start_by: None,
            tenant_limit: None,
            key_limit: None,
            position: None,
            workers: None,
            lease: None,
            fence: None,
        }
    }

    fn check(job: &Explanation, expected: &str) {
        let reason = reason(job);
        assert!(reason.starts_with(expected), "{reason} instead of {expected}");
    }

    #[test]
    fn a_queued_job_is_told_what_it_waits_for() {
        let queued = |waiting_for| job(Status::Queued, Some(waiting_for));
        let at = Some(Timestamp::from_unix_ms(0));
        check(
            &Explanation { due_at: at, ..job(Status::Scheduled, Some(WaitingFor::DueTime)) },
            "It is due at 1970-01-01T",
        );
        check(
            &Explanation { paused_at: at, ..queued(WaitingFor::QueuePaused) },
            "The queue default is paused since 1970",
        );
        check(&queued(WaitingFor::Worker), "No live worker consumes the queue default");
        let consumed = |consumers| Some(Able { consumers, ..Able::default() });
        check(
            &Explanation { workers: consumed(1), ..queued(WaitingFor::Worker) },
            "The one live worker of the queue default",
        );
        check(&Explanation { workers: consumed(3), ..queued(WaitingFor::Worker) }, "None of the 3 live workers");
        check(&queued(WaitingFor::Broker), "The broker is away");
        let reached = |running, running_max, rate_per_second: Option<u32>| ReachedLimit {
            running,
            running_max,
            rate_per_second,
            starts_at: rate_per_second.and(at),
        };
        let limited = |running, running_max, rate_per_second| Explanation {
            tenant_limit: Some(TenantLimit {
                tenant: "acme".parse().expect("a name"),
                reached: reached(running, running_max, rate_per_second),
            }),
            ..queued(WaitingFor::TenantLimit)
        };
        let of_key = Explanation {
            key_limit: Some(KeyLimit { key_id: KeyId::of(255), reached: reached(5, Some(5), None) }),
            ..queued(WaitingFor::KeyLimit)
        };
        check(&of_key, "The API key 00000000000000ff may have 5 jobs running at once, and has 5.");
        check(&limited(5, Some(5), None), "The tenant acme may have 5 jobs running at once, and has 5.");
        check(&limited(1, Some(5), Some(2)), "The tenant acme may start 2 jobs per second; the next one at 1970");
        let able = Able { sessions: 1, slots: 8, busy: 7, consumers: 2, listed: Vec::new() };
        let placed = |ahead, exact, offered| Explanation {
            position: Some(QueuePosition { ahead, exact, offered }),
            workers: Some(able.clone()),
            ..queued(WaitingFor::Slot)
        };
        check(&placed(0, true, true), "It is offered to the workers");
        check(
            &placed(0, true, false),
            "It waits for a free slot: no job is ahead of it; of the 8 slots that could run it 7 are busy.",
        );
        check(&placed(1, true, false), "It waits for a free slot: 1 job is ahead");
        check(&placed(12, true, false), "It waits for a free slot: 12 jobs are ahead");
        check(&placed(10_000, false, false), "It waits for a free slot: more than 10000 jobs are ahead");
        let again = reason(&Explanation { due_at: at, ..placed(0, true, false) });
        assert!(again.contains("offered again at 1970"), "{again}");
    }

    #[test]
    fn a_running_job_is_told_who_has_it() {
        let lease = |worker: Option<&str>, cancel_requested| Explanation {
            lease: Some(Lease {
                fence: Fence(1),
                lease_ms: 15_000,
                session_id: None,
                worker: worker.map(ToOwned::to_owned),
                cancel_requested,
            }),
            ..job(Status::Running, None)
        };
        check(&lease(Some("host-1"), false), "It runs at host-1.");
        check(&lease(Some("host-1"), true), "It runs at host-1, which is told to stop it.");
        check(&lease(None, false), "Its worker is gone; it runs elsewhere when its lease of 15000 ms has ended.");
        let fence = Some(WaitsForFence { position: Position(12), fenced_through: Position(9) });
        let finishing = reason(&Explanation { fence, ..job(Status::Running, None) });
        assert!(finishing.contains("log position 12, acknowledged through 9"), "{finishing}");
        check(&job(Status::Failed, None), "It has failed");
    }
}
