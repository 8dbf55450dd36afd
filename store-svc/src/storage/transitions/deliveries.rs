//! What webhooks are told: written in the commit that ends a run, taken by whoever sends it, and kept for a while with what became of it.

use std::sync::Arc;

use protocol::api::Status;
use protocol::ids::{DeliveryId, JobId, Position};
use protocol::key::WebhookName;
use protocol::store_api::Reply;
use protocol::time::Timestamp;
use protocol::webhook::{
    DeliveryStatus, DeliveryView, Event, EventData, EventType, LastAttempt, PENDING_MAX, RESEND_MAX, ResendMany,
    Resent, WebhookReply, delivery_of, resend_wait_ms, unknown, unknown_delivery,
};
use uuid::Uuid;

use super::view::Around;
use super::webhooks::WebhookRow;
use super::{Decided, Transaction, view};
use crate::storage::row::Row;
use crate::storage::sql::{Columns, Sql, fitting, values};
use crate::storage::{DeliveriesPage, Room, SYSTEM, Sending, Sent, StorageError, Told};

macro_rules! delivery_columns {
    () => {
        "position, delivery, event, job_id, run, status, attempts, due_at, last, created_at, ended_at"
    };
}

/// As it is listed, and where.
struct Listed {
    position: i64,
    view: DeliveryView,
}

impl Listed {
    fn read(columns: &mut dyn Columns) -> Result<Self, StorageError> {
        let odd = |what: &str, word: &str| StorageError::Internal(format!("a delivery in a row has the {what} {word}"));
        let time = |ms: Option<i64>| ms.map(Timestamp::from_unix_ms);
        let position = columns.int()?;
        let delivery_id = DeliveryId(columns.uuid()?);
        let kind = columns.word()?;
        let kind = EventType::named(kind).ok_or_else(|| odd("event", kind))?;
        let (job_id, run) = (JobId(columns.uuid()?), columns.small()?);
        let status = columns.word()?;
        let status = DeliveryStatus::named(status).ok_or_else(|| odd("status", status))?;
        let (attempts, next_attempt_at) = (columns.small()?, time(columns.maybe_int()?));
        let last: Option<LastAttempt> = columns.maybe_word()?.map(serde_json::from_str).transpose()?;
        let (created_at, ended_at) = (Timestamp::from_unix_ms(columns.int()?), time(columns.maybe_int()?));
        let view = DeliveryView {
            delivery_id,
            kind,
            job_id,
            run,
            status,
            attempts,
            next_attempt_at,
            last,
            created_at,
            ended_at,
        };
        Ok(Self { position, view })
    }
}

impl Transaction<'_> {
    /// The run has ended: whoever wants to know is told, by rows in this commit.
    pub(super) fn announce(&mut self, row: &Row) -> Result<(), StorageError> {
        let Some(kind) = EventType::of(Status::from(row.job.state)) else { return Ok(()) };
        let listeners = Arc::clone(&self.memory.listeners);
        let mut told =
            listeners.iter().filter(|listener| listener.filter.admits(kind, &row.task, &row.queue)).peekable();
        if told.peek().is_none() {
            return Ok(());
        }
        let now = self.context.wall_ms;
        let job = view::bare(row, &self.memory.live, Around::default())?;
        let tenant = self.memory.tenants.get(row.tenant).map(|known| known.name.clone()).unwrap_or_default();
        let event = Event { kind, timestamp: Timestamp::from_unix_ms(now), data: EventData { job, tenant } };
        let body = serde_json::to_string(&event)?;
        for listener in told {
            // The same end cannot be told twice.
            let query = "INSERT INTO deliveries (tenant, webhook, position, delivery, event, job_id, run, body, status, attempts, begun_at,
                             due_at, created_at)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'pending', 0, ?9, ?9, ?9)
                         ON CONFLICT DO NOTHING";
            let (position, delivery) = (row.changed.0, delivery_of(listener.id, row.job_id, row.job.run).0);
            let (job_id, run) = (row.job_id.0, row.job.run);
            self.sql
                .write(query, values![SYSTEM, listener.id, position, delivery, kind.name(), job_id, run, &body, now])?;
            self.count("event_noted");
        }
        self.signals.deliveries = true;
        Ok(())
    }

    /// What is due of each, at most as many as there is room for. It is whoever takes it to send for so long.
    pub(super) fn take_due_deliveries(&mut self, rooms: &[Room], lease_ms: u64) -> Result<Vec<Sending>, StorageError> {
        let now = self.context.wall_ms;
        let mut taken = Vec::new();
        for room in rooms {
            let Some(webhook) = WebhookRow::load_enabled(self.sql, room.webhook)? else { continue };
            let query = "SELECT position, delivery, body, attempts FROM deliveries
                         WHERE tenant = ? AND webhook = ? AND due_at <= ? AND due_at IS NOT NULL ORDER BY due_at, position LIMIT ?";
            let due = self.sql.take_all(query, values![SYSTEM, webhook.id, now, room.free], |columns| {
                Ok((columns.int()?, DeliveryId(columns.uuid()?), columns.text()?, columns.small()?))
            })?;
            let secrets = webhook.signing(now);
            for (position, delivery, body, attempts) in due {
                let attempt = attempts.saturating_add(1);
                let query =
                    "UPDATE deliveries SET due_at = ?, attempts = ? WHERE tenant = ? AND webhook = ? AND position = ?";
                let until = now.saturating_add_unsigned(lease_ms);
                self.sql.write(query, values![until, attempt, SYSTEM, webhook.id, position])?;
                let (name, url, secrets) = (webhook.name.clone(), webhook.url.clone(), secrets.clone());
                let position = Position(position.cast_unsigned());
                taken.push(Sending { webhook: webhook.id, name, url, secrets, position, delivery, body, attempt });
            }
        }
        Ok(taken)
    }

    /// What became of an attempt.
    pub(super) fn settle_delivery(&mut self, sent: &Sent) -> Result<(), StorageError> {
        let (webhook, position) = (sent.webhook, sent.position.0);
        let query =
            "SELECT status, attempts, begun_at FROM deliveries WHERE tenant = ? AND webhook = ? AND position = ?";
        let found = self.sql.one(query, values![SYSTEM, webhook, position], |columns| {
            let is_pending = DeliveryStatus::named(columns.word()?) == Some(DeliveryStatus::Pending);
            Ok((is_pending, columns.small()?, columns.int()?))
        })?;
        // Dropped, or delivered by somebody else meanwhile; a failure counts only if nobody has taken it since.
        let Some((true, attempts, begun_at)) = found else { return Ok(()) };
        let is_delivered = matches!(sent.told, Told::Delivered);
        if attempts != sent.attempt && !is_delivered {
            return Ok(());
        }
        let now = self.context.wall_ms;
        let context = self.context;
        let webhooks = &context.settings.webhooks;
        let is_old = now.saturating_sub(begun_at) >= webhooks.give_up_ms.cast_signed();
        let wait_ms = match sent.told {
            Told::Delivered | Told::Gone => None,
            Told::Failed { .. } if is_old => None,
            Told::Failed { asked_ms } => {
                let backoff = webhooks.backoff;
                Some(resend_wait_ms(backoff, attempts, self.random()).max(asked_ms.unwrap_or(0)))
            }
        };
        let status = match (is_delivered, wait_ms) {
            (true, _) => DeliveryStatus::Delivered,
            (false, None) => DeliveryStatus::Failed,
            (false, Some(_)) => DeliveryStatus::Pending,
        };
        let due_at = wait_ms.map(|wait_ms| now.saturating_add_unsigned(wait_ms));
        let ended_at = due_at.is_none().then_some(now);
        let last = serde_json::to_string(&sent.last)?;
        let query = "UPDATE deliveries SET status = ?, due_at = ?, ended_at = ?, last = ? WHERE tenant = ? AND webhook = ? AND position = ?";
        self.sql.write(query, values![status.name(), due_at, ended_at, &last, SYSTEM, webhook, position])?;
        self.count(match status {
            DeliveryStatus::Delivered => "event_delivered",
            DeliveryStatus::Failed => "event_failed",
            DeliveryStatus::Pending => "event_put_off",
        });
        if matches!(sent.told, Told::Gone)
            && let Some(row) = WebhookRow::load_enabled(self.sql, webhook)?
        {
            self.disable(row, "its receiver answered 410 Gone")?;
        }
        Ok(())
    }

    pub(super) fn resend(&mut self, name: &WebhookName, delivery: DeliveryId) -> Result<Decided, StorageError> {
        let Some(row) = WebhookRow::load(self.sql, name)? else { return Ok(Err(unknown(name))) };
        let now = self.context.wall_ms;
        let query =
            "UPDATE deliveries SET status = 'pending', attempts = 0, begun_at = ?1, due_at = ?1, ended_at = NULL
                     WHERE tenant = ?2 AND delivery = ?3 AND webhook = ?4";
        self.sql.write(query, values![now, SYSTEM, delivery.0, row.id])?;
        let query = concat!(
            "SELECT ",
            delivery_columns!(),
            " FROM deliveries WHERE tenant = ? AND delivery = ? AND webhook = ?"
        );
        let found = self.sql.one(query, values![SYSTEM, delivery.0, row.id], Listed::read)?;
        self.signals.deliveries = true;
        Ok(match found {
            Some(found) => Ok(Reply::Webhook(WebhookReply::Delivery(Box::new(found.view)))),
            None => Err(unknown_delivery(name, delivery)),
        })
    }

    /// The oldest first, so that whoever asks again goes on.
    pub(super) fn resend_many(&mut self, name: &WebhookName, asked: &ResendMany) -> Result<Decided, StorageError> {
        let Some(row) = WebhookRow::load(self.sql, name)? else { return Ok(Err(unknown(name))) };
        let (now, since, status) = (self.context.wall_ms, asked.since.unix_ms(), asked.status.name());
        // Those that are due already need not be asked for.
        let query =
            "SELECT position FROM deliveries WHERE tenant = ? AND webhook = ? AND status = ? AND created_at >= ?
                         AND (due_at IS NULL OR due_at > ?) ORDER BY position LIMIT ?";
        let found = values![SYSTEM, row.id, status, since, now, RESEND_MAX + 1];
        let found = self.sql.all(query, found, |columns| columns.int())?;
        let fit = usize::try_from(RESEND_MAX).unwrap_or(usize::MAX);
        let more = found.len() > fit;
        let mut resent = 0;
        for position in found.into_iter().take(fit) {
            let query =
                "UPDATE deliveries SET status = 'pending', attempts = 0, begun_at = ?1, due_at = ?1, ended_at = NULL
                         WHERE tenant = ?2 AND webhook = ?3 AND position = ?4";
            self.sql.write(query, values![now, SYSTEM, row.id, position])?;
            resent += 1;
        }
        self.signals.deliveries = true;
        Ok(Ok(Reply::Webhook(WebhookReply::Resent(Resent { resent, more }))))
    }

    /// Drops what ended before, and what is of webhooks that were deleted; disables those that too much waits for.
    pub(super) fn trim_all_deliveries(&mut self, before_wall_ms: i64, limit: u32) -> Result<bool, StorageError> {
        let query = "SELECT ended_at FROM deliveries WHERE tenant = ? AND ended_at < ? AND ended_at IS NOT NULL
                     ORDER BY ended_at LIMIT 1 OFFSET ?";
        let beyond = self.sql.one(query, values![SYSTEM, before_wall_ms, limit], |columns| columns.int())?;
        let query = "DELETE FROM deliveries WHERE tenant = ? AND ended_at < ? AND ended_at IS NOT NULL";
        self.sql.write(query, values![SYSTEM, beyond.unwrap_or(before_wall_ms)])?;
        let query = "SELECT webhook FROM webhooks WHERE tenant = ? AND name IS NULL ORDER BY webhook";
        let mut more = beyond.is_some();
        for webhook in self.sql.all(query, values![SYSTEM], |columns| columns.uuid())? {
            more |= self.forget_webhook(webhook, limit)?;
        }
        for listener in Arc::clone(&self.memory.listeners).iter() {
            let query =
                "SELECT 1 FROM deliveries WHERE tenant = ? AND webhook = ? AND due_at IS NOT NULL LIMIT 1 OFFSET ?";
            let full = self.sql.one(query, values![SYSTEM, listener.id, PENDING_MAX], |_| Ok(()))?.is_some();
            if full && let Some(row) = WebhookRow::load_enabled(self.sql, listener.id)? {
                self.disable(row, &format!("more than {PENDING_MAX} events waited for it"))?;
            }
        }
        Ok(more)
    }

    /// `true`: there may be more of it.
    fn forget_webhook(&mut self, webhook: Uuid, limit: u32) -> Result<bool, StorageError> {
        let query =
            "SELECT position FROM deliveries WHERE tenant = ? AND webhook = ? ORDER BY position LIMIT 1 OFFSET ?";
        let beyond = self.sql.one(query, values![SYSTEM, webhook, limit], |columns| columns.int())?;
        let query = "DELETE FROM deliveries WHERE tenant = ? AND webhook = ? AND position < ?";
        self.sql.write(query, values![SYSTEM, webhook, beyond.unwrap_or(i64::MAX)])?;
        if beyond.is_none() {
            let query = "DELETE FROM webhooks WHERE tenant = ? AND webhook = ? AND name IS NULL";
            self.sql.write(query, values![SYSTEM, webhook])?;
        }
        Ok(beyond.is_some())
    }
}

/// When something of each enabled webhook is due next.
pub(super) fn due(sql: &mut dyn Sql) -> Result<Vec<(Uuid, i64)>, StorageError> {
    let query =
        "SELECT webhook FROM webhooks WHERE tenant = ? AND disabled_at IS NULL AND name IS NOT NULL ORDER BY webhook";
    let mut due = Vec::new();
    for webhook in sql.all(query, values![SYSTEM], |columns| columns.uuid())? {
        let query = "SELECT min(due_at) FROM deliveries WHERE tenant = ? AND webhook = ? AND due_at IS NOT NULL";
        let next = sql.single(query, values![SYSTEM, webhook], |columns| columns.maybe_int())?;
        due.extend(next.map(|next| (webhook, next)));
    }
    Ok(due)
}

/// One page, newest first; `None`: there is no such webhook.
pub(super) fn page(
    sql: &mut dyn Sql,
    name: &WebhookName,
    status: Option<DeliveryStatus>,
    before: i64,
    limit: u32,
) -> Result<Option<DeliveriesPage>, StorageError> {
    let Some(webhook) = WebhookRow::load(sql, name)? else { return Ok(None) };
    let more = limit.saturating_add(1);
    let all = concat!(
        "SELECT ",
        delivery_columns!(),
        " FROM deliveries WHERE tenant = ? AND webhook = ? AND position < ? ORDER BY position DESC LIMIT ?"
    );
    let of_status = concat!(
        "SELECT ",
        delivery_columns!(),
        " FROM deliveries WHERE tenant = ? AND webhook = ? AND status = ? AND position < ? ORDER BY position DESC LIMIT ?"
    );
    let rows = match status {
        None => sql.all(all, values![SYSTEM, webhook.id, before, more], Listed::read)?,
        Some(status) => sql.all(of_status, values![SYSTEM, webhook.id, status.name(), before, more], Listed::read)?,
    };
    let (rows, follows) = fitting(rows, limit);
    let before = rows.last().filter(|_| follows).map(|last| last.position);
    Ok(Some(DeliveriesPage { deliveries: rows.into_iter().map(|row| row.view).collect(), before }))
}
