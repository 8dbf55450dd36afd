//! Webhooks: rows that say who is told of the ends of jobs. What clients do about them; `deliveries.rs` has the events.

use chassis::outbound::Target;
use protocol::key::WebhookName;
use protocol::problem::{Kind, Problem};
use protocol::store_api::Reply;
use protocol::time::Timestamp;
use protocol::webhook::{
    Disabled, Filter, PENDING_COUNTED, SECRETS_MAX, Secret, WEBHOOKS_MAX, Webhook, WebhookCommand, WebhookReply,
    WebhookView, unknown,
};
use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use super::memory::Listener;
use super::{Decided, Transaction};
use crate::storage::sql::{Columns, Sql, fitting, values};
use crate::storage::{SYSTEM, StorageError, WebhooksPage};

macro_rules! webhook_columns {
    () => {
        "webhook, name, url, filter, secrets, disabled_at, disabled_reason, created_at, updated_at"
    };
}

/// A webhook's row. Times are Unix ms.
#[derive(Clone, Debug)]
pub(super) struct WebhookRow {
    pub(super) id: Uuid,
    pub(super) name: WebhookName,
    pub(super) url: String,
    filter: Filter,
    /// The present one first.
    secrets: Vec<Signing>,
    disabled_at: Option<i64>,
    disabled_reason: Option<String>,
    created_at: i64,
    updated_at: i64,
}

/// A secret, and until when it signs.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Signing {
    secret: Secret,
    /// Absent: until it is rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

impl WebhookRow {
    fn read(columns: &mut dyn Columns) -> Result<Self, StorageError> {
        let odd = |error: &dyn std::fmt::Display| StorageError::Internal(format!("a webhook in a row {error}"));
        Ok(Self {
            id: columns.uuid()?,
            name: WebhookName::try_from(columns.word()?).map_err(|error| odd(&error))?,
            url: columns.text()?,
            filter: serde_json::from_str(columns.word()?)?,
            secrets: serde_json::from_str(columns.word()?)?,
            disabled_at: columns.maybe_int()?,
            disabled_reason: columns.maybe_text()?,
            created_at: columns.int()?,
            updated_at: columns.int()?,
        })
    }

    pub(super) fn load(sql: &mut dyn Sql, name: &WebhookName) -> Result<Option<Self>, StorageError> {
        let query = concat!("SELECT ", webhook_columns!(), " FROM webhooks WHERE tenant = ? AND name = ?");
        sql.one(query, values![SYSTEM, name.as_str()], Self::read)
    }

    /// If it is there and enabled.
    pub(super) fn load_enabled(sql: &mut dyn Sql, id: Uuid) -> Result<Option<Self>, StorageError> {
        let query = concat!(
            "SELECT ",
            webhook_columns!(),
            " FROM webhooks WHERE tenant = ? AND webhook = ? AND disabled_at IS NULL AND name IS NOT NULL"
        );
        sql.one(query, values![SYSTEM, id], Self::read)
    }

    fn save(&self, sql: &mut dyn Sql) -> Result<(), StorageError> {
        let query = "INSERT INTO webhooks (tenant, webhook, name, url, filter, secrets, disabled_at, disabled_reason, created_at, updated_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                     ON CONFLICT (tenant, webhook) DO UPDATE SET url = ?4, filter = ?5, secrets = ?6, disabled_at = ?7,
                         disabled_reason = ?8, updated_at = ?10";
        let (name, filter) = (self.name.as_str(), serde_json::to_string(&self.filter)?);
        let (secrets, reason) = (serde_json::to_string(&self.secrets)?, &self.disabled_reason);
        let (created_at, updated_at) = (self.created_at, self.updated_at);
        sql.write(
            query,
            values![
                SYSTEM,
                self.id,
                name,
                &self.url,
                &filter,
                &secrets,
                self.disabled_at,
                reason,
                created_at,
                updated_at
            ],
        )
    }

    /// What signs now, the present one first.
    pub(super) fn signing(&self, now_ms: i64) -> Vec<Secret> {
        let signs = |signing: &&Signing| signing.until.is_none_or(|until| until.unix_ms() > now_ms);
        self.secrets.iter().filter(signs).map(|signing| signing.secret.clone()).collect()
    }

    fn view(self, sql: &mut dyn Sql, now_ms: i64) -> Result<WebhookView, StorageError> {
        let query = "SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE tenant = ? AND webhook = ? AND due_at IS NOT NULL LIMIT ?) AS pending";
        let pending = sql.single(query, values![SYSTEM, self.id, PENDING_COUNTED], |columns| columns.small())?;
        let secrets = self.signing(now_ms).len();
        let disabled = self
            .disabled_at
            .map(|at| Disabled { at: Timestamp::from_unix_ms(at), reason: self.disabled_reason.unwrap_or_default() });
        let Filter { events, tasks, queues } = self.filter;
        Ok(WebhookView {
            name: self.name,
            url: self.url,
            events,
            tasks,
            queues,
            disabled,
            secrets,
            secret: None,
            pending,
            created_at: Timestamp::from_unix_ms(self.created_at),
            updated_at: Timestamp::from_unix_ms(self.updated_at),
        })
    }
}

impl Transaction<'_> {
    pub(super) fn command_webhook(&mut self, command: &WebhookCommand) -> Result<Decided, StorageError> {
        match command {
            WebhookCommand::Put(webhook) => self.put_webhook(webhook),
            WebhookCommand::Delete { name } => self.delete_webhook(name),
            WebhookCommand::Disable { name } => self.change(name, |row, now| {
                row.disabled_at = row.disabled_at.or(Some(now));
                row.disabled_reason.get_or_insert_with(|| "by an operator".to_owned());
                None
            }),
            WebhookCommand::Enable { name } => self.change(name, |row, _| {
                (row.disabled_at, row.disabled_reason) = (None, None);
                None
            }),
            WebhookCommand::Rotate { name, secret, overlap_ms } => {
                self.change(name, |row, now| row.rotate(secret, now.saturating_add_unsigned(*overlap_ms), now))
            }
            WebhookCommand::Resend { name, delivery } => self.resend(name, *delivery),
            WebhookCommand::ResendMany { name, resend } => self.resend_many(name, resend),
        }
    }

    fn put_webhook(&mut self, asked: &Webhook) -> Result<Decided, StorageError> {
        let known = WebhookRow::load(self.sql, &asked.name)?;
        if let Some(refused) = self.refuses_webhook(asked, known.is_none())? {
            return Ok(Err(refused));
        }
        let now = self.context.wall_ms;
        let created = known.is_none();
        let shown = (created && asked.secret.is_none()).then(|| asked.made.clone());
        let row = match known {
            Some(known) => {
                let secrets = match &asked.secret {
                    Some(secret) => vec![Signing { secret: secret.clone(), until: None }],
                    None => known.secrets.clone(),
                };
                let (url, filter) = (asked.url.clone(), asked.filter.clone());
                WebhookRow { url, filter, secrets, updated_at: now, ..known }
            }
            None => WebhookRow {
                id: self.random_id(),
                name: asked.name.clone(),
                url: asked.url.clone(),
                filter: asked.filter.clone(),
                secrets: vec![Signing {
                    secret: asked.secret.clone().unwrap_or_else(|| asked.made.clone()),
                    until: None,
                }],
                disabled_at: None,
                disabled_reason: None,
                created_at: now,
                updated_at: now,
            },
        };
        self.kept(row, created, shown)
    }

    fn refuses_webhook(&mut self, asked: &Webhook, is_new: bool) -> Result<Option<Problem>, StorageError> {
        let reach = &self.context.settings.webhooks.reach;
        let literal = asked.url.parse::<Target>().ok().and_then(|target| target.literal());
        if let Some(address) = literal.filter(|address| !reach.admits(*address)) {
            let detail = format!(
                "is at {address}, which is not a public address; LONGSHORE_WEBHOOK_ALLOW of the store allows others"
            );
            return Ok(Some(Problem::invalid("/url", detail)));
        }
        let query = "SELECT count(*) FROM webhooks WHERE tenant = ? AND name IS NOT NULL";
        let full = is_new && self.sql.single(query, values![SYSTEM], |columns| columns.small())? >= WEBHOOKS_MAX;
        let detail = || format!("There are {WEBHOOKS_MAX} webhooks, which is the limit; delete one first.");
        Ok(full.then(|| Kind::Conflict.detail(detail())))
    }

    fn change(
        &mut self,
        name: &WebhookName,
        change: impl FnOnce(&mut WebhookRow, i64) -> Option<Secret>,
    ) -> Result<Decided, StorageError> {
        let Some(mut row) = WebhookRow::load(self.sql, name)? else { return Ok(Err(unknown(name))) };
        let now = self.context.wall_ms;
        let shown = change(&mut row, now);
        row.updated_at = now;
        self.kept(row, false, shown)
    }

    /// Writes it, and lets whoever sends know.
    fn kept(&mut self, row: WebhookRow, created: bool, shown: Option<Secret>) -> Result<Decided, StorageError> {
        row.save(self.sql)?;
        self.heard_of_webhooks()?;
        let view = row.view(self.sql, self.context.wall_ms)?;
        let webhook = Box::new(WebhookView { secret: shown, ..view });
        Ok(Ok(Reply::Webhook(WebhookReply::Webhook { created, webhook })))
    }

    fn heard_of_webhooks(&mut self) -> Result<(), StorageError> {
        self.memory.listeners = Listener::load(self.sql)?.into();
        self.signals.deliveries = true;
        Ok(())
    }

    /// Its deliveries are dropped little by little.
    fn delete_webhook(&mut self, name: &WebhookName) -> Result<Decided, StorageError> {
        let deleted = WebhookRow::load(self.sql, name)?.is_some();
        let query = "UPDATE webhooks SET name = NULL, secrets = '[]', updated_at = ? WHERE tenant = ? AND name = ?";
        self.sql.write(query, values![self.context.wall_ms, SYSTEM, name.as_str()])?;
        self.heard_of_webhooks()?;
        Ok(Ok(Reply::Webhook(WebhookReply::Deleted { deleted })))
    }

    /// Because of what it answered, or of how much waits for it.
    pub(super) fn disable(&mut self, mut row: WebhookRow, reason: &str) -> Result<(), StorageError> {
        tracing::warn!(webhook = %row.name, reason, "a webhook is disabled");
        self.count("webhook_disabled");
        let now = self.context.wall_ms;
        (row.disabled_at, row.disabled_reason, row.updated_at) = (Some(now), Some(reason.to_owned()), now);
        row.save(self.sql)?;
        self.heard_of_webhooks()
    }

    fn random_id(&mut self) -> Uuid {
        let bytes = u128::from(self.random()) << 64 | u128::from(self.random());
        Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid()
    }
}

impl WebhookRow {
    /// The same secret again changes nothing: the answer to the first request may have been lost.
    fn rotate(&mut self, secret: &Secret, until_ms: i64, now_ms: i64) -> Option<Secret> {
        if self.secrets.first().is_none_or(|present| present.secret != *secret) {
            let until = Timestamp::from_unix_ms(until_ms);
            self.secrets.retain(|signing| signing.until.is_none_or(|until| until.unix_ms() > now_ms));
            for former in &mut self.secrets {
                former.until = Some(former.until.map_or(until, |earlier| earlier.min(until)));
            }
            self.secrets.insert(0, Signing { secret: secret.clone(), until: None });
            self.secrets.truncate(SECRETS_MAX);
        }
        Some(secret.clone())
    }
}

pub(super) fn view_one(
    sql: &mut dyn Sql,
    name: &WebhookName,
    now_ms: i64,
) -> Result<Option<WebhookView>, StorageError> {
    WebhookRow::load(sql, name)?.map(|row| row.view(sql, now_ms)).transpose()
}

/// One page, by name.
pub(super) fn page(sql: &mut dyn Sql, after: &str, limit: u32, now_ms: i64) -> Result<WebhooksPage, StorageError> {
    let query =
        concat!("SELECT ", webhook_columns!(), " FROM webhooks WHERE tenant = ? AND name > ? ORDER BY name LIMIT ?");
    let rows = sql.all(query, values![SYSTEM, after, limit.saturating_add(1)], WebhookRow::read)?;
    let (rows, follows) = fitting(rows, limit);
    let webhooks: Result<Vec<_>, _> = rows.into_iter().map(|row| row.view(sql, now_ms)).collect();
    let webhooks = webhooks?;
    let after = webhooks.last().filter(|_| follows).map(|last| last.name.to_string());
    Ok(WebhooksPage { webhooks, after })
}
