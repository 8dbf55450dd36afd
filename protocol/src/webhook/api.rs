//! What is said about webhooks: which ends of jobs are told to whom, and what became of it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use super::Secret;
use crate::api::{JobView, Status};
use crate::ids::{DeliveryId, JobId};
use crate::key::{QueueName, TaskPattern, WebhookName};
use crate::problem::{Kind, Problem};
use crate::tenant::Tenant;
use crate::time::Timestamp;

/// So many may be there; one more is refused.
pub const WEBHOOKS_MAX: u32 = 64;
/// Tasks and patterns that one may name.
pub const TASKS_MAX: usize = 64;
/// Queues that one may name.
pub const QUEUES_MAX: usize = 16;
/// Deliveries of one webhook that may be pending; one with more is disabled.
pub const PENDING_MAX: u64 = 1_000_000;
/// Pending deliveries are counted up to here.
pub const PENDING_COUNTED: u32 = 10_000;
/// Deliveries that are sent again by one request.
pub const RESEND_MAX: u32 = 1_000;
/// How long the secret that another one takes the place of signs as well, in ms: a day.
pub const OVERLAP_MS: u64 = 24 * 3_600_000;

/// What an event tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum EventType {
    #[serde(rename = "job.succeeded")]
    JobSucceeded,
    #[serde(rename = "job.failed")]
    JobFailed,
    #[serde(rename = "job.cancelled")]
    JobCancelled,
}

impl EventType {
    pub const ALL: [Self; 3] = [Self::JobSucceeded, Self::JobFailed, Self::JobCancelled];

    /// The event of a run that has ended.
    #[must_use]
    pub fn of(status: Status) -> Option<Self> {
        match status {
            Status::Succeeded => Some(Self::JobSucceeded),
            Status::Failed => Some(Self::JobFailed),
            Status::Cancelled => Some(Self::JobCancelled),
            Status::Scheduled | Status::Queued | Status::Running => None,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::JobSucceeded => "job.succeeded",
            Self::JobFailed => "job.failed",
            Self::JobCancelled => "job.cancelled",
        }
    }

    /// The type of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name() == name)
    }
}

/// Which events a webhook is for. A list that is empty leaves out nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    pub events: Vec<EventType>,
    pub tasks: Vec<TaskPattern>,
    pub queues: Vec<QueueName>,
}

impl Filter {
    #[must_use]
    pub fn admits(&self, event: EventType, task: &str, queue: &str) -> bool {
        (self.events.is_empty() || self.events.contains(&event))
            && (self.tasks.is_empty() || self.tasks.iter().any(|pattern| pattern.matches(task)))
            && (self.queues.is_empty() || self.queues.iter().any(|named| named.as_str() == queue))
    }
}

/// The body of an event, as Standard Webhooks has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    #[serde(rename = "type")]
    pub kind: EventType,
    /// When the run ended.
    pub timestamp: Timestamp,
    pub data: EventData,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventData {
    /// As it was then, without its result.
    pub job: JobView,
    /// Whose job it is; absent of one of the tenant `default`.
    #[serde(default, skip_serializing_if = "Tenant::is_default")]
    pub tenant: Tenant,
}

/// What names an event at a webhook: of the end of a run it is always the same.
#[must_use]
pub fn delivery_of(webhook: Uuid, job_id: JobId, run: u32) -> DeliveryId {
    let hash = Sha256::digest(format!("delivery\n{webhook}\n{job_id}\n{run}"));
    let bytes: [u8; 16] = hash.first_chunk().copied().unwrap_or_default();
    DeliveryId(Builder::from_custom_bytes(bytes).into_uuid())
}

/// `PUT /webhooks/{name}`; only `url` is needed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PutWebhook {
    /// Where events are sent, `https://…`.
    #[cfg_attr(feature = "openapi", schema(max_length = 2048, pattern = "^https?://[^/?# ]+[^# ]*$"))]
    pub url: String,
    /// All, unless it says otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 3))]
    pub events: Vec<EventType>,
    /// Of jobs of these tasks only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 64))]
    pub tasks: Vec<TaskPattern>,
    /// Of jobs of these queues only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 16))]
    pub queues: Vec<QueueName>,
    /// What its events are signed with; of a new one it is made if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
}

/// A checked webhook, on its way to the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Webhook {
    pub name: WebhookName,
    pub url: String,
    pub filter: Filter,
    pub secret: Option<Secret>,
    /// The secret of a new one, if none is said.
    pub made: Secret,
}

/// What may be done about one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookCommand {
    /// Creates it, or puts it in the place of what has its name.
    Put(Box<Webhook>),
    Delete {
        name: WebhookName,
    },
    /// Nothing is sent to it, and nothing new noted for it, until it is enabled.
    Disable {
        name: WebhookName,
    },
    Enable {
        name: WebhookName,
    },
    /// From now on this secret signs, and for a while those that it takes the place of, too.
    Rotate {
        name: WebhookName,
        secret: Secret,
        overlap_ms: u64,
    },
    /// One delivery, whatever became of it, again.
    Resend {
        name: WebhookName,
        delivery: DeliveryId,
    },
    ResendMany {
        name: WebhookName,
        resend: ResendMany,
    },
}

/// The store's answers to these.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookReply {
    /// As it is now.
    Webhook {
        created: bool,
        webhook: Box<WebhookView>,
    },
    /// `false`: there was none.
    Deleted {
        deleted: bool,
    },
    /// As it is now.
    Delivery(Box<DeliveryView>),
    Resent(Resent),
}

/// `POST /webhooks/{name}/rotate`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// The new secret; made if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// So long the former one signs as well, in ms; a day unless it says otherwise, 0: it was stolen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 604_800_000))]
    pub overlap_ms: Option<u64>,
}

/// The longest time for which two secrets sign, in ms.
pub const OVERLAP_MS_MAX: u64 = 7 * 24 * 3_600_000;

/// `POST /webhooks/{name}/resend`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ResendMany {
    /// Events from then on.
    pub since: Timestamp,
    /// What became of them: `failed` unless it says otherwise.
    #[serde(default = "failed")]
    #[cfg_attr(feature = "openapi", schema(default = "failed"))]
    pub status: DeliveryStatus,
}

fn failed() -> DeliveryStatus {
    DeliveryStatus::Failed
}

/// The answer to it: how many are sent again, and whether more are left: ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Resent {
    pub resent: u32,
    pub more: bool,
}

/// `GET /webhooks/{name}`, and one of `GET /webhooks`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookView {
    pub name: WebhookName,
    pub url: String,
    /// Empty: all.
    pub events: Vec<EventType>,
    /// Empty: of all tasks.
    pub tasks: Vec<TaskPattern>,
    /// Empty: of all queues.
    pub queues: Vec<QueueName>,
    /// Absent: it is enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disabled>,
    /// What signs its events now: more than one while a new one takes the place of another.
    pub secrets: usize,
    /// Shown once, when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Deliveries that are still to be made; counted up to 10,000.
    pub pending: u32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Disabled {
    pub at: Timestamp,
    pub reason: String,
}

/// `GET /webhooks`, by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookPage {
    pub webhooks: Vec<WebhookView>,
    /// `null` on the last page.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub next_cursor: Option<String>,
}

/// What became of an event at a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// It is sent again and again.
    Pending,
    /// The receiver said 2xx.
    Delivered,
    /// It was given up.
    Failed,
}

impl DeliveryStatus {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }

    /// The status of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Pending, Self::Delivered, Self::Failed].into_iter().find(|status| status.name() == name)
    }
}

/// One of `GET /webhooks/{name}/deliveries`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryView {
    /// The `webhook-id` that it is sent with, each time.
    pub delivery_id: DeliveryId,
    #[serde(rename = "type")]
    pub kind: EventType,
    pub job_id: JobId,
    pub run: u32,
    pub status: DeliveryStatus,
    /// How often it was sent since it was made or asked for again.
    pub attempts: u32,
    /// When it is sent next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// How the last attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastAttempt>,
    pub created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// The end of an attempt: an answer, or a reason why there was none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LastAttempt {
    pub at: Timestamp,
    /// The receiver's status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `GET /webhooks/{name}/deliveries`, newest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryPage {
    pub deliveries: Vec<DeliveryView>,
    /// `null` on the last page.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub next_cursor: Option<String>,
}

/// The answer to whoever names one that is not there.
#[must_use]
pub fn unknown(name: &WebhookName) -> Problem {
    Kind::NotFound.detail(format!("There is no webhook {name}; GET /webhooks lists them."))
}

/// The answer to whoever names a delivery that is not there.
#[must_use]
pub fn unknown_delivery(name: &WebhookName, delivery: DeliveryId) -> Problem {
    Kind::NotFound.detail(format!("The webhook {name} has no delivery {delivery}; they are kept for a while."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_leaves_out_nothing() {
        let filter = |json: &str| serde_json::from_str::<Filter>(json).expect("a filter");
        let check = |json: &str, expected: bool| {
            assert_eq!(filter(json).admits(EventType::JobFailed, "report_1", "reports"), expected, "{json}");
        };
        check(r#"{"events":[],"tasks":[],"queues":[]}"#, true);
        check(r#"{"events":["job.failed"],"tasks":["a","report_*"],"queues":["default","reports"]}"#, true);
        check(r#"{"events":["job.succeeded"],"tasks":[],"queues":[]}"#, false);
        check(r#"{"events":[],"tasks":["report"],"queues":[]}"#, false);
        check(r#"{"events":[],"tasks":[],"queues":["default"]}"#, false);
    }

    #[test]
    fn each_end_of_a_run_has_one_name_at_a_webhook() {
        let (webhook, job_id) = (Uuid::nil(), JobId(Uuid::max()));
        assert_eq!(delivery_of(webhook, job_id, 1), delivery_of(webhook, job_id, 1));
        assert_ne!(delivery_of(webhook, job_id, 1), delivery_of(webhook, job_id, 2));
        assert_ne!(delivery_of(webhook, job_id, 1), delivery_of(Uuid::max(), job_id, 1));
    }

    #[test]
    fn names_are_those_of_the_wire() {
        for event in [EventType::JobSucceeded, EventType::JobFailed, EventType::JobCancelled] {
            assert_eq!(serde_json::to_string(&event).ok(), Some(format!("{:?}", event.name())));
            assert_eq!(EventType::named(event.name()), Some(event));
        }
        for status in [DeliveryStatus::Pending, DeliveryStatus::Delivered, DeliveryStatus::Failed] {
            assert_eq!(serde_json::to_string(&status).ok(), Some(format!("{:?}", status.name())));
            assert_eq!(DeliveryStatus::named(status.name()), Some(status));
        }
    }
}
