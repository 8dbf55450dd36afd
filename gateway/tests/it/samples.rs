//! Jobs as a store shows them.

use protocol::api::{JobView, Links, Priority, Status};
use protocol::ids::{Dispatch, JobId};
use protocol::store_api::{Created, Replayed};
use protocol::time::Timestamp;
use serde_json::value::RawValue;

/// Created jobs were created at this time.
pub(crate) const CREATED_AT_MS: i64 = 1_800_000_000_000;

pub(crate) fn created(job_id: JobId, status: Status, replayed: Option<Replayed>, bell: Option<Dispatch>) -> Created {
    Created { job_id, status, replayed, bell, created_at: Timestamp::from_unix_ms(CREATED_AT_MS) }
}

pub(crate) fn view(job_id: JobId, task: &str, status: Status) -> JobView {
    JobView {
        job_id,
        task: task.to_owned(),
        queue: "default".to_owned(),
        priority: Priority::Normal,
        status,
        waiting_for: None,
        run: 1,
        attempt: 0,
        max_attempts: 5,
        crashes: 0,
        progress: None,
        result: RawValue::from_string("{\"a\":  1}".to_owned()).ok().filter(|_| status == Status::Succeeded),
        error: None,
        invalidates: Vec::new(),
        timeout_ms: None,
        start_deadline_ms: None,
        unique_key: None,
        schedule: None,
        trace_id: None,
        created_at: Timestamp::from_unix_ms(CREATED_AT_MS),
        run_at: None,
        start_by: None,
        started_at: None,
        finished_at: None,
        cancel_requested_at: None,
        links: Links::of(job_id),
    }
}
