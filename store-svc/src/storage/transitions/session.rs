//! Workers' sessions: what they consume and know, and the leases that their heartbeats renew.

use std::sync::Arc;

use protocol::ids::SessionId;
use protocol::problem::Kind;
use protocol::store_api::{Change, Heartbeat, HeartbeatReply, Held, JobFence, Reply};

use super::{Decided, Transaction};
use crate::storage::live::{Live, Session};
use crate::storage::sql::values;
use crate::storage::{SYSTEM, StorageError};

impl Transaction<'_> {
    pub(super) fn heartbeat(&mut self, heartbeat: &Heartbeat) -> Result<Decided, StorageError> {
        let known = self.memory.live.session(heartbeat.session);
        if known.is_none() && !heartbeat.register {
            return Ok(Err(Kind::UnknownSession.problem()));
        }
        let session = Session {
            id: heartbeat.session,
            worker: heartbeat.worker.clone(),
            queues: heartbeat.queues.iter().map(|(name, slots)| (name.as_str().to_owned(), *slots)).collect(),
            tasks: heartbeat.tasks.iter().cloned().collect(),
            since_ms: known.map_or(self.context.wall_ms, |known| known.since_ms),
        };
        self.keep_session(session)?;
        let mut reply = HeartbeatReply::default();
        for held in &heartbeat.holds {
            if !self.renew(held, &mut reply)? {
                self.has_ended_or_is_missing(held.job_id)?;
            }
        }
        for queue in heartbeat.queues.keys() {
            if self.memory.queue(queue.as_str()).is_paused() {
                reply.paused.push(queue.to_string());
            }
        }
        Ok(Ok(Reply::Heartbeat(reply)))
    }

    /// Opens the session, or renews it as it is now.
    pub(super) fn keep_session(&mut self, session: Session) -> Result<(), StorageError> {
        if self.memory.live.session(session.id) == Some(&session) {
            return self.renew_session(session.id);
        }
        self.save_session(&session)?;
        let live = self.memory.live.with(session.id, Some(session));
        self.become_live(live)
    }

    fn renew_session(&mut self, session: SessionId) -> Result<(), StorageError> {
        let query = "UPDATE sessions SET renewal = renewal + 1 WHERE tenant = ? AND session = ?";
        self.sql.write(query, values![SYSTEM, session.0])
    }

    fn save_session(&mut self, session: &Session) -> Result<(), StorageError> {
        let query = "INSERT INTO sessions (tenant, session, worker, queues, tasks, since, renewal)
                     VALUES (?, ?, ?, ?, ?, ?, 0)
                     ON CONFLICT (tenant, session) DO UPDATE SET worker = excluded.worker, queues = excluded.queues,
                         tasks = excluded.tasks, renewal = sessions.renewal + 1";
        let queues = serde_json::to_string(&session.queues)?;
        let tasks = serde_json::to_string(&session.tasks)?;
        let id = session.id.0;
        self.sql.write(query, values![SYSTEM, id, &session.worker, &queues, &tasks, session.since_ms])
    }

    /// Takes the new sessions into account: rows that nobody matched may be matched now, windows may have grown.
    fn become_live(&mut self, live: Live) -> Result<(), StorageError> {
        let before = Arc::clone(&self.memory.live);
        self.memory.live = Arc::new(live);
        self.memory.live_told = false;
        for queue in self.memory.live.widened_since(&before) {
            self.look_through_again(&queue)?;
        }
        for queue in self.memory.live.grown_since(&before) {
            self.memory.agitate(&queue);
        }
        Ok(())
    }

    /// `false`: there is no such job.
    pub(super) fn renew(&mut self, held: &Held, reply: &mut HeartbeatReply) -> Result<bool, StorageError> {
        let lease = JobFence { job_id: held.job_id, fence: held.fence };
        let Some(mut row) = self.load(held.job_id)? else {
            reply.lost.push(lease);
            return Ok(false);
        };
        if row.job.renew(held.fence).is_err() {
            reply.lost.push(lease);
            return Ok(true);
        }
        if row.job.cancel_requested {
            reply.cancelled.push(lease);
        }
        if let Some(progress) = &held.progress {
            let text = serde_json::to_string(progress)?;
            if row.progress.as_deref() != Some(text.as_str()) {
                row.progress = Some(text);
                row.changed = self.log(&Change::Progress { job_id: row.job_id, progress: progress.clone() })?;
            }
        }
        self.save_renewal(&row)?;
        Ok(true)
    }

    /// A worker that pulls and is busy need not ask for jobs to stay known.
    pub(super) fn renew_pulled(&mut self, held: &Held) -> Result<Decided, StorageError> {
        let mut reply = HeartbeatReply::default();
        self.renew(held, &mut reply)?;
        if reply.lost.is_empty()
            && let Some(session) = self.load(held.job_id)?.and_then(|row| row.session)
        {
            self.renew_session(session)?;
        }
        Ok(Ok(Reply::Heartbeat(reply)))
    }

    pub(super) fn end_session(&mut self, session: SessionId) -> Result<Decided, StorageError> {
        self.remove_session(session)?;
        Ok(Ok(Reply::Done))
    }

    pub(super) fn expire_silent_session(&mut self, session: SessionId, renewal: u64) -> Result<bool, StorageError> {
        let query = "SELECT 1 FROM sessions WHERE tenant = ? AND session = ? AND renewal = ?";
        let still = self.sql.one(query, values![SYSTEM, session.0, renewal], |_| Ok(()))?.is_some();
        if still {
            self.count("session_expired");
            self.remove_session(session)?;
        }
        Ok(still)
    }

    fn remove_session(&mut self, session: SessionId) -> Result<(), StorageError> {
        if self.memory.live.session(session).is_some() {
            self.sql.write("DELETE FROM sessions WHERE tenant = ? AND session = ?", values![SYSTEM, session.0])?;
            let live = self.memory.live.with(session, None);
            self.become_live(live)?;
        }
        Ok(())
    }
}
