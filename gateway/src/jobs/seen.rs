//! One look at a job: the store's bytes as they came, and the little that the gateway must know about them.

use bytes::Bytes;
use chassis::client::{Answer, Error};
use protocol::api::Status;
use protocol::ids::{JobId, Place, Position};
use protocol::store_api::CHANGED_HEADER;
use protocol::time::Timestamp;
use serde::Deserialize;

use crate::store::Store;

/// The most that `Retry-After` says of a job that is scheduled, in s.
const RETRY_AFTER_S_MAX: i64 = 60;

/// A job as the store shows it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) json: Bytes,
    pub(super) state: Glimpse,
    /// Where it was read. Absent only if the store does not say, then nobody can wait.
    pub(super) place: Option<Place>,
    /// Where it last changed.
    pub(super) changed: Option<Place>,
}

/// The members that decide about the answer: all that can change but the progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Glimpse {
    pub(super) status: Status,
    #[serde(default)]
    pub(super) run_at: Option<Timestamp>,
    #[serde(default)]
    run: u32,
    #[serde(default)]
    attempt: u32,
    #[serde(default)]
    crashes: u32,
    #[serde(default)]
    cancel_requested_at: Option<Timestamp>,
}

impl Seen {
    /// Reads the job.
    ///
    /// # Errors
    /// 404 and 410 of the store; that it is away or not understood.
    pub(super) async fn read(store: &Store, job_id: JobId) -> Result<Self, Error> {
        let answer = store.get(format!("/jobs/{job_id}")).await?;
        let place = answer.place();
        let changed = answer.number(CHANGED_HEADER).map(Position);
        let changed = place.zip(changed).map(|(place, position)| Place { position, ..place });
        let json = answer.body.clone();
        let Answer { body: state, .. } = answer.json::<Glimpse>()?;
        Ok(Self { json, state, place, changed })
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.state.status.is_terminal()
    }
}

/// When to look again, in s: at its time if the job is scheduled, else in a second; `None` when it has ended.
pub(super) fn retry_after_s(status: Status, run_at: Option<Timestamp>, now_ms: i64) -> Option<i64> {
    match (status, run_at) {
        (status, _) if status.is_terminal() => None,
        (Status::Scheduled, Some(run_at)) => {
            let left_s = run_at.unix_ms().saturating_sub(now_ms).saturating_add(999) / 1_000;
            Some(left_s.clamp(1, RETRY_AFTER_S_MAX))
        }
        _ => Some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_when_to_look_again() {
        let now_ms = 1_000_000;
        let check = |status, run_at_ms: Option<i64>, expected| {
            let run_at = run_at_ms.map(Timestamp::from_unix_ms);
            assert_eq!(retry_after_s(status, run_at, now_ms), expected, "{status:?} {run_at_ms:?}");
        };
        check(Status::Queued, None, Some(1));
        check(Status::Running, None, Some(1));
        check(Status::Scheduled, None, Some(1));
        check(Status::Scheduled, Some(now_ms - 5_000), Some(1));
        check(Status::Scheduled, Some(now_ms + 1), Some(1));
        check(Status::Scheduled, Some(now_ms + 7_200), Some(8));
        check(Status::Scheduled, Some(now_ms + 3_600_000), Some(60));
        check(Status::Scheduled, Some(i64::MAX), Some(60));
        for ended in [Status::Succeeded, Status::Failed, Status::Cancelled] {
            check(ended, None, None);
        }
    }
}
