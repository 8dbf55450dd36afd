//! Webhooks: who is told of the ends of jobs; how what is sent to URLs that operators name is signed, and what an answer means. Pure.

mod api;
mod signing;
mod verdict;

pub use api::{
    DeliveryPage, DeliveryStatus, DeliveryView, Disabled, Event, EventData, EventType, Filter, LastAttempt, OVERLAP_MS,
    OVERLAP_MS_MAX, PENDING_COUNTED, PENDING_MAX, PutWebhook, QUEUES_MAX, RESEND_MAX, ResendMany, Resent, Rotate,
    TASKS_MAX, WEBHOOKS_MAX, Webhook, WebhookCommand, WebhookPage, WebhookReply, WebhookView, delivery_of, unknown,
    unknown_delivery,
};
pub use signing::{ID_HEADER, NoSecret, SECRETS_MAX, SIGNATURE_HEADER, Secret, TIMESTAMP_HEADER, signatures};
pub use verdict::{RETRY_AFTER_MS_MAX, Verdict, resend_wait_ms, retry_after_ms};
