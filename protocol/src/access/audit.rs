//! What operators did: who, what, when, from where, and what came of it.

use serde::{Deserialize, Serialize};

use super::keys::KeyCommand;
use crate::problem::Problem;
use crate::schedule::ScheduleCommand;
use crate::store_api::Command;
use crate::tenant::Tenant;
use crate::time::Timestamp;
use crate::webhook::WebhookCommand;

/// The outcome of what was done; of what was refused it is the name of the problem.
pub const OUTCOME_DONE: &str = "done";

/// Longest target of an entry, in bytes; a longer one is cut.
const TARGET_BYTES_MAX: usize = 512;

/// What somebody does, before it is known what comes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    pub who: String,
    pub tenant: Tenant,
    pub action: String,
    pub target: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    pub request_id: String,
}

/// A command with who gives it: it is recorded in the same commit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Audited {
    pub act: Act,
    pub command: Command,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    pub at: Timestamp,
    /// The id of a key, `admin` (the key from the file), or `jwt:` and the subject of a token.
    pub who: String,
    /// Whose the caller is.
    pub tenant: Tenant,
    /// Such as `queue.pause`.
    pub action: String,
    /// Of what.
    pub target: String,
    /// The client's address, as the balancer saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    pub request_id: String,
    /// `done`, or the name of the problem that it was refused with.
    pub outcome: String,
}

/// `GET /audit`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditPage {
    pub entries: Vec<AuditEntry>,
    /// `null` on the last page.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub next_cursor: Option<String>,
}

impl AuditEntry {
    #[must_use]
    pub fn of(act: Act, at: Timestamp, refused: Option<&Problem>) -> Self {
        let outcome = refused.map_or(OUTCOME_DONE, |problem| problem.kind().map_or("refused", |kind| kind.name()));
        let Act { who, tenant, action, mut target, from, request_id } = act;
        if target.len() > TARGET_BYTES_MAX {
            let cut = target.floor_char_boundary(TARGET_BYTES_MAX);
            target.truncate(cut);
            target.push('…');
        }
        Self { at, who, tenant, action, target, from, request_id, outcome: outcome.to_owned() }
    }
}

/// The action and the target of a command that is an operator's; `None`: it is not recorded.
#[must_use]
pub fn act_of(command: &Command) -> Option<(&'static str, String)> {
    Some(match command {
        Command::PauseQueue { queue } => ("queue.pause", queue.to_string()),
        Command::ResumeQueue { queue } => ("queue.resume", queue.to_string()),
        Command::SetTenant { tenant, .. } => ("tenant.put", tenant.to_string()),
        Command::Cancel { job_id } => ("job.cancel", job_id.to_string()),
        Command::Retry { job_id } => ("job.retry", job_id.to_string()),
        Command::Purge { job_id } => ("job.purge", job_id.to_string()),
        Command::RetryJobs(jobs) => ("jobs.retry", jobs.retry_id.to_string()),
        Command::StopRetry { retry_id } => ("jobs.retry.stop", retry_id.to_string()),
        Command::Schedule(command) => match command {
            ScheduleCommand::Put(schedule) => ("schedule.put", schedule.name.to_string()),
            ScheduleCommand::Delete { name } => ("schedule.delete", name.to_string()),
            ScheduleCommand::Pause { name } => ("schedule.pause", name.to_string()),
            ScheduleCommand::Resume { name } => ("schedule.resume", name.to_string()),
            ScheduleCommand::Run { name, .. } => ("schedule.run", name.to_string()),
        },
        Command::Webhook(command) => match command {
            WebhookCommand::Put(webhook) => ("webhook.put", webhook.name.to_string()),
            WebhookCommand::Delete { name } => ("webhook.delete", name.to_string()),
            WebhookCommand::Disable { name } => ("webhook.disable", name.to_string()),
            WebhookCommand::Enable { name } => ("webhook.enable", name.to_string()),
            WebhookCommand::Rotate { name, .. } => ("webhook.rotate", name.to_string()),
            WebhookCommand::Resend { name, .. } | WebhookCommand::ResendMany { name, .. } => {
                ("webhook.resend", name.to_string())
            }
        },
        Command::Key(command) => match command {
            KeyCommand::Create(new) if new.session_of.is_some() => ("console.login", new.key_id.to_string()),
            KeyCommand::Create(new) => ("key.create", new.key_id.to_string()),
            KeyCommand::Rotate { key_id, .. } => ("key.rotate", key_id.to_string()),
            KeyCommand::Revoke { key_id, .. } => ("key.revoke", key_id.to_string()),
            KeyCommand::Limit { key_id, .. } => ("key.limit", key_id.to_string()),
            KeyCommand::Used(_) => return None,
        },
        Command::Create(_)
        | Command::Claim(_)
        | Command::Complete(_)
        | Command::Release(_)
        | Command::Heartbeat(_)
        | Command::Pull(_)
        | Command::Renew(_)
        | Command::HandOver(_)
        | Command::EndSession { .. }
        | Command::Bells(_)
        | Command::PutData(_)
        | Command::DeleteData(_)
        | Command::SequencerAcquire { .. }
        | Command::SequencerYield { .. }
        | Command::Fenced { .. }
        | Command::Audited(_)
        | Command::Audit(_) => return None,
    })
}
