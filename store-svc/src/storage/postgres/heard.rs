//! What a commit tells the other stores: as much of its signals as is not their own business, sent with it by NOTIFY.

use std::collections::BTreeMap;
use std::iter::repeat_n;

use protocol::ids::{Position, SessionId};
use protocol::queue::Flow;
use protocol::store_api::{JobFence, QueuePause};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::storage::{BellSeq, NewsItem, Offer, QueueNow, Signals};

/// PostgreSQL's limit is 8,000 bytes. What does not fit is left out: first flows and queues, which are only shown to people, then
/// the news of sessions, since each heartbeat's answer says the same, and offers, since who waits for a job to pull asks anew every few seconds.
const BYTES_MAX: usize = 7_900;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Heard {
    /// The storage that committed.
    pub(super) by: Uuid,
    head: Position,
    invalidation: Option<Position>,
    fenced_through: Position,
    bells: u64,
    due_ms: Option<i64>,
    cancelled: Vec<(SessionId, JobFence)>,
    lost: Vec<(SessionId, JobFence)>,
    pauses: Vec<(SessionId, QueuePause)>,
    /// Many jobs are to be retried.
    retries: bool,
    flows: BTreeMap<String, Flow>,
    /// By queue and task, how many rows began to wait for workers that pull.
    offers: BTreeMap<String, BTreeMap<String, usize>>,
    resumed: Vec<String>,
    queues: Vec<QueueNow>,
    /// The sessions changed.
    pub(super) sessions: bool,
}

impl Heard {
    pub(super) fn of(by: Uuid, signals: &Signals) -> Self {
        let mut heard = Self {
            by,
            head: signals.head,
            invalidation: signals.invalidation,
            fenced_through: signals.fenced_through,
            bells: signals.bells.0,
            due_ms: signals.due_ms,
            cancelled: Vec::new(),
            lost: Vec::new(),
            pauses: Vec::new(),
            retries: signals.retries,
            flows: signals.flows.clone(),
            offers: BTreeMap::new(),
            resumed: signals.resumed.clone(),
            queues: signals.queues.clone(),
            sessions: signals.live.is_some(),
        };
        for (session, item) in &signals.news {
            match item {
                NewsItem::Cancelled(lease) => heard.cancelled.push((*session, *lease)),
                NewsItem::Lost(lease) => heard.lost.push((*session, *lease)),
                NewsItem::Pause(pause) => heard.pauses.push((*session, pause.clone())),
            }
        }
        for Offer { queue, task } in &signals.offers {
            *heard.offers.entry(queue.clone()).or_default().entry(task.clone()).or_default() += 1;
        }
        heard
    }

    pub(super) fn into_text(mut self) -> Result<String, serde_json::Error> {
        let text = serde_json::to_string(&self)?;
        if text.len() <= BYTES_MAX {
            return Ok(text);
        }
        (self.flows, self.queues) = (BTreeMap::new(), Vec::new());
        let text = serde_json::to_string(&self)?;
        if text.len() <= BYTES_MAX {
            return Ok(text);
        }
        (self.cancelled, self.lost, self.pauses) = (Vec::new(), Vec::new(), Vec::new());
        (self.offers, self.resumed) = (BTreeMap::new(), Vec::new());
        serde_json::to_string(&self)
    }

    pub(super) fn into_signals(self) -> Signals {
        let cancelled = self.cancelled.into_iter().map(|(session, lease)| (session, NewsItem::Cancelled(lease)));
        let lost = self.lost.into_iter().map(|(session, lease)| (session, NewsItem::Lost(lease)));
        let pauses = self.pauses.into_iter().map(|(session, pause)| (session, NewsItem::Pause(pause)));
        let offers = self.offers.into_iter().flat_map(|(queue, tasks)| {
            tasks.into_iter().flat_map(move |(task, rows)| repeat_n(Offer { queue: queue.clone(), task }, rows))
        });
        Signals {
            head: self.head,
            invalidation: self.invalidation,
            fenced_through: self.fenced_through,
            bells: BellSeq(self.bells),
            due_ms: self.due_ms,
            retries: self.retries,
            flows: self.flows,
            offers: offers.collect(),
            resumed: self.resumed,
            queues: self.queues,
            news: cancelled.chain(lost).chain(pauses).collect(),
            ..Signals::default()
        }
    }
}
