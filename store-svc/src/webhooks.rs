//! The loop that sends events to webhooks. What is to be sent, and how often it was tried, is in the store, so that it goes on after a restart; each
//! attempt is taken before it is made, so that of several stores one makes it, and another only if that one died.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chassis::clock::wall_ms;
use chassis::outbound::{Answer, Failed, Post, Reach, Target, Trust, post};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::HeaderMap;
use protocol::time::Timestamp;
use protocol::webhook::{LastAttempt, Verdict};
use uuid::Uuid;

use crate::config::Config;
use crate::hub::Hub;
use crate::readers::Readers;
use crate::storage::{Room, Sending, Sent, Told};
use crate::writer::Writer;

/// What another store wrote is seen then; and what is due by the clock.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Requests under way to one webhook: a slow one holds up nobody else.
const PER_WEBHOOK_MAX: u32 = 8;
/// Beyond the deadline of a request, what its outcome may take to be written before another store may send it again.
const OUTCOME_MS: u64 = 10_000;
/// Nobody reads more of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Of an error, what is kept, in bytes.
const ERROR_BYTES_MAX: usize = 512;

/// How events are sent.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    reach: Reach,
    trust: Trust,
    timeout: Duration,
}

impl Sender {
    pub(crate) fn new(config: &Config) -> Self {
        let timeout = Duration::from_millis(config.webhook_timeout_ms);
        Self { reach: config.webhook_allow.clone(), trust: config.webhook_trust.clone(), timeout }
    }

    /// For how long an attempt is nobody else's.
    fn lease_ms(&self) -> u64 {
        u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX).saturating_add(OUTCOME_MS)
    }
}

/// Sends what is due, for ever.
pub(crate) async fn send(sender: Sender, readers: Readers, writer: Writer, hub: Arc<Hub>) {
    let mut under_way = FuturesUnordered::new();
    let mut busy: HashMap<Uuid, u32> = HashMap::new();
    loop {
        let (taken, next_ms) = match take(&sender, &readers, &writer, &busy).await {
            Ok(taken) => taken,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "events could not be taken");
                (Vec::new(), None)
            }
        };
        for sending in taken {
            *busy.entry(sending.webhook).or_default() += 1;
            under_way.push(deliver(&sender, &writer, sending));
        }
        let wait_ms = next_ms.map_or(u64::MAX, |next_ms| u64::try_from(next_ms - wall_ms()).unwrap_or(0));
        let wait = Duration::from_millis(wait_ms).min(LOOK_EVERY);
        let mut wait = std::pin::pin!(tokio::time::sleep(wait));
        tokio::select! {
            () = &mut wait => {}
            () = hub.deliveries.notified() => {}
            Some(webhook) = under_way.next() => {
                if let Some(count) = busy.get_mut(&webhook) {
                    *count -= 1;
                    if *count == 0 {
                        busy.remove(&webhook);
                    }
                }
            }
        }
    }
}

/// What is due and has room, and when something will be due for which there is room.
async fn take(
    sender: &Sender,
    readers: &Readers,
    writer: &Writer,
    busy: &HashMap<Uuid, u32>,
) -> anyhow::Result<(Vec<Sending>, Option<i64>)> {
    let due = readers.read(|reader| reader.deliveries_due()).await?;
    let now_ms = wall_ms();
    let free = |webhook: &Uuid| PER_WEBHOOK_MAX.saturating_sub(busy.get(webhook).copied().unwrap_or(0));
    let roomy: Vec<(Uuid, i64)> = due.into_iter().filter(|(webhook, _)| free(webhook) > 0).collect();
    let next_ms = roomy.iter().map(|(_, due_ms)| *due_ms).filter(|due_ms| *due_ms > now_ms).min();
    let is_due = |(_, due_ms): &&(Uuid, i64)| *due_ms <= now_ms;
    let rooms: Vec<Room> =
        roomy.iter().filter(is_due).map(|(webhook, _)| Room { webhook: *webhook, free: free(webhook) }).collect();
    if rooms.is_empty() {
        return Ok((Vec::new(), next_ms));
    }
    let lease_ms = sender.lease_ms();
    let taken = writer.step(move |transitions| transitions.take_deliveries(&rooms, lease_ms)).await?;
    // More may be due at once where there is room left.
    Ok((taken, Some(now_ms)))
}

/// One attempt, until its outcome is written. Which webhook it was for.
async fn deliver(sender: &Sender, writer: &Writer, sending: Sending) -> Uuid {
    let (told, last) = attempt(sender, &sending).await;
    let Sending { webhook, position, attempt, .. } = sending;
    let outcome = match told {
        Told::Delivered => "delivered",
        Told::Failed { .. } => "failed",
        Told::Gone => "gone",
    };
    metrics::counter!("longshore_webhook_attempts_total", "outcome" => outcome).increment(1);
    tracing::debug!(webhook = %sending.name, delivery = %sending.delivery, attempt, outcome, "an event was sent");
    let sent = Sent { webhook, position, attempt, told, last };
    if let Err(error) = writer.step(move |transitions| transitions.sent(&sent)).await {
        // It is sent once more when its time is over.
        tracing::warn!(%error, webhook = %sending.name, "the outcome of an event was not written");
    }
    webhook
}

async fn attempt(sender: &Sender, sending: &Sending) -> (Told, LastAttempt) {
    let now = Timestamp::from_unix_ms(wall_ms());
    let failed = |error: String| {
        let error = error.chars().take(ERROR_BYTES_MAX).collect();
        (Told::Failed { asked_ms: None }, LastAttempt { at: now, http_status: None, error: Some(error) })
    };
    let target: Target = match sending.url.parse() {
        Ok(target) => target,
        Err(accepted) => return failed(format!("its URL must be {accepted}")),
    };
    let id = sending.delivery.to_string();
    let asked = Post {
        target: &target,
        reach: &sender.reach,
        trust: &sender.trust,
        secrets: &sending.secrets,
        id: &id,
        headers: HeaderMap::new(),
        body: Bytes::from(sending.body.clone()),
        answer_bytes_max: ANSWER_BYTES_MAX,
    };
    match tokio::time::timeout(sender.timeout, post(asked)).await {
        Err(_) => failed(format!("no answer within {} ms", sender.timeout.as_millis())),
        // What it says is nobody's business, however long.
        Ok(Err(Failed::TooLarge(_))) => failed("its answer is too long".to_owned()),
        Ok(Err(error)) => failed(error.to_string()),
        Ok(Ok(answer)) => judge(&answer, now),
    }
}

/// What is not accepted may be tomorrow, when the receiver is repaired: only 410 says that it never will be.
fn judge(answer: &Answer, now: Timestamp) -> (Told, LastAttempt) {
    let status = answer.status.as_u16();
    let last = LastAttempt { at: now, http_status: Some(status), error: None };
    let told = match Verdict::of(status) {
        Verdict::Done => Told::Delivered,
        Verdict::Gone => Told::Gone,
        Verdict::Again | Verdict::Never => Told::Failed { asked_ms: answer.retry_after_ms() },
    };
    (told, last)
}
