//! What passes between the rows of webhooks and whoever sends their events.

use chassis::outbound::Reach;
use protocol::ids::{DeliveryId, Position};
use protocol::key::WebhookName;
use protocol::retry::Backoff;
use protocol::webhook::{DeliveryStatus, DeliveryView, LastAttempt, Secret, WebhookView};
use uuid::Uuid;

#[derive(Clone, Debug)]
pub struct WebhookSettings {
    pub backoff: Backoff,
    /// How long an event is sent again and again, ms.
    pub give_up_ms: u64,
    pub reach: Reach,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        let backoff = Backoff { base_ms: 5_000, max_ms: 3_600_000 };
        Self { backoff, give_up_ms: 24 * 3_600_000, reach: Reach::Public }
    }
}

/// So many may be sent to this webhook now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub webhook: Uuid,
    pub free: u32,
}

/// One attempt to deliver an event.
#[derive(Clone, Debug)]
pub struct Sending {
    pub webhook: Uuid,
    pub name: WebhookName,
    pub url: String,
    /// Each signs.
    pub secrets: Vec<Secret>,
    pub position: Position,
    pub delivery: DeliveryId,
    /// JSON.
    pub body: String,
    pub attempt: u32,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct Sent {
    pub webhook: Uuid,
    pub position: Position,
    pub attempt: u32,
    pub told: Told,
    pub last: LastAttempt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Delivered,
    /// The receiver may have asked for a wait, ms.
    Failed {
        asked_ms: Option<u64>,
    },
    /// It wants no more events.
    Gone,
}

#[derive(Debug)]
pub struct WebhooksPage {
    pub webhooks: Vec<WebhookView>,
    /// After which name the next page begins; `None`: this was the last.
    pub after: Option<String>,
}

#[derive(Clone, Debug)]
pub struct DeliveriesQuery {
    pub name: WebhookName,
    pub status: Option<DeliveryStatus>,
    /// Only older ones than this log position.
    pub before: i64,
    pub limit: u32,
}

#[derive(Debug)]
pub struct DeliveriesPage {
    pub deliveries: Vec<DeliveryView>,
    /// Where the next page begins; `None`: this was the last.
    pub before: Option<i64>,
}
