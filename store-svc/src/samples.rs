//! What the tests of this crate's own parts begin with.

use protocol::api::Priority;
use protocol::ids::JobId;
use protocol::store_api::Create;

/// A job that asks for nothing in particular.
pub(crate) fn create() -> Create {
    Create {
        job_id: JobId::generate(),
        task: "a".try_into().expect("a task"),
        payload: None,
        queue: "default".try_into().expect("a queue"),
        priority: Priority::Normal,
        run_at: None,
        delay_ms: None,
        max_attempts: 1,
        timeout_ms: None,
        start_deadline_ms: None,
        invalidates: Vec::new(),
        unique_key: None,
        idempotency_key: None,
        fingerprint: String::new(),
        trace: None,
        key_id: None,
        wants_bell: false,
    }
}
