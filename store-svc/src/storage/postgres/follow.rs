//! Hears what other stores commit, on a connection of its own: by NOTIFY at once, and by a look every second, which also shows whether the
//! database is there and still the same.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use chassis::backoff::Backoff;
use protocol::ids::{Incarnation, Position, SessionId};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::{AsyncMessage, Client};
use uuid::Uuid;

use super::fault::Fault;
use super::heard::Heard;
use super::link::{REPLACED, Target};
use super::schema;
use super::url::Wire;
use crate::storage::live::{Live, Session};
use crate::storage::{BellSeq, Signals};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A look that takes longer means that the database is away.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
const PAUSE: (Duration, Duration, Duration) =
    (Duration::from_millis(50), Duration::from_millis(200), Duration::from_secs(2));
const LISTEN: &str = "SET search_path = longshore; SET statement_timeout = '3s'; LISTEN longshore";
const SESSIONS: &str = "SELECT session, worker, queues, tasks, since FROM sessions WHERE tenant = 0";

/// What a follower tells.
#[derive(Debug)]
pub enum Told {
    /// The database is there.
    There,
    /// It is not, or does not answer.
    Away(String),
    /// Something was committed, by whomever.
    Committed(Box<Signals>),
    /// Others wrote since the last look: what they could not ring may be rung here.
    OthersWrote,
}

/// The database is of another history now: what this process knows is void.
#[derive(Debug, thiserror::Error)]
#[error("{REPLACED}")]
pub struct Replaced;

#[derive(Debug)]
pub struct Follower {
    target: Arc<Target>,
    /// Who it is whose own commits need not be told.
    name: Uuid,
}

/// How a connection ended.
enum End {
    Lost(Fault),
    Replaced,
}

impl<E: Into<Fault>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Lost(error.into())
    }
}

impl Follower {
    pub(super) fn new(target: Arc<Target>, name: Uuid) -> Self {
        Self { target, name }
    }

    /// Tells what happens until the database is replaced by another.
    pub async fn follow(self, mut tell: impl FnMut(Told)) -> Replaced {
        let (floor, base, cap) = PAUSE;
        let mut backoff = Backoff::new(floor, base, cap);
        loop {
            let lost = match self.listen(&mut tell, &mut backoff).await {
                Ok(never) => match never {},
                Err(End::Replaced) => return Replaced,
                Err(End::Lost(fault)) => fault,
            };
            tell(Told::Away(lost.to_string()));
            tokio::time::sleep(backoff.next_random()).await;
        }
    }

    async fn listen(&self, tell: &mut impl FnMut(Told), backoff: &mut Backoff) -> Result<Infallible, End> {
        let connecting = timeout(ANSWER_WITHIN, self.target.url.connect()).await;
        let (client, wire) = connecting.map_err(|_| Fault::lost(&"no answer in time"))??;
        let mut line = Line { client, wire, inbox: VecDeque::new() };
        line.ask(async |client| client.batch_execute(LISTEN).await).await?;
        // What came before we listened is not told any more.
        let mut signals = self.look(&mut line).await?;
        (signals.invalidation, signals.due_ms) = (Some(signals.head), Some(0));
        (signals.live, signals.retries) = (Some(line.sessions().await?), true);
        tell(Told::Committed(Box::new(signals)));
        tell(Told::There);
        backoff.reset();
        let (mut look_at, mut others_wrote) = (Instant::now() + LOOK_EVERY, true);
        loop {
            match timeout_at(look_at, line.next_notice()).await {
                Ok(notice) => {
                    if let Some(signals) = self.signals_of(&notice?, &mut line).await? {
                        others_wrote = true;
                        tell(Told::Committed(Box::new(signals)));
                    }
                }
                Err(_) => {
                    tell(Told::Committed(Box::new(self.look(&mut line).await?)));
                    if std::mem::take(&mut others_wrote) {
                        tell(Told::OthersWrote);
                    }
                    look_at = Instant::now() + LOOK_EVERY;
                }
            }
        }
    }

    /// `None`: it was our own commit, or is nothing of ours.
    async fn signals_of(&self, notice: &str, line: &mut Line) -> Result<Option<Signals>, End> {
        let Ok(heard) = serde_json::from_str::<Heard>(notice) else {
            tracing::warn!("a notification on the channel longshore is not of a store");
            return Ok(None);
        };
        if heard.by == self.name {
            return Ok(None);
        }
        let live = if heard.sessions { Some(line.sessions().await?) } else { None };
        Ok(Some(Signals { live, ..heard.into_signals() }))
    }

    async fn look(&self, line: &mut Line) -> Result<Signals, End> {
        let query = format!(
            "SELECT (SELECT coalesce(max(position), 0) FROM log), fenced_through,
                    greatest((SELECT coalesce(max(seq), 0) FROM bells),
                             (SELECT coalesce(max(claimed_through), 0) FROM queues)),
                    incarnation, origin = {} FROM meta WHERE tenant = 0",
            schema::ORIGIN
        );
        let row = line.ask(async |client| client.query_one(&query, &[]).await).await?;
        let incarnation = Incarnation(row.try_get(3)?);
        let is_ours: bool = row.try_get(4)?;
        if incarnation != self.target.history.incarnation || !is_ours {
            return Err(End::Replaced);
        }
        let counter = |index: usize| row.try_get::<_, i64>(index).map(i64::cast_unsigned);
        Ok(Signals {
            head: Position(counter(0)?),
            fenced_through: Position(counter(1)?),
            bells: BellSeq(counter(2)?),
            ..Signals::default()
        })
    }
}

/// A connection and what came over it unasked.
struct Line {
    client: Client,
    wire: Wire,
    inbox: VecDeque<String>,
}

impl Line {
    /// Asks, with the connection driven meanwhile.
    async fn ask<T>(
        &mut self,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Fault> {
        let Self { client, wire, inbox } = self;
        let mut work = std::pin::pin!(work(client));
        let driven = poll_fn(|context| {
            while let Poll::Ready(message) = wire.poll_message(context) {
                match message {
                    Some(message) => inbox.extend(notice_of(message?)),
                    None => return Poll::Ready(Err(Fault::lost(&"the server ended it"))),
                }
            }
            work.as_mut().poll(context).map_err(Fault::from)
        });
        timeout(ANSWER_WITHIN, driven).await.map_err(|_| Fault::lost(&"no answer in time"))?
    }

    /// Waits for a notification. Cancel-safe.
    async fn next_notice(&mut self) -> Result<String, Fault> {
        loop {
            if let Some(notice) = self.inbox.pop_front() {
                return Ok(notice);
            }
            match poll_fn(|context| self.wire.poll_message(context)).await {
                Some(message) => self.inbox.extend(notice_of(message?)),
                None => return Err(Fault::lost(&"the server ended it")),
            }
        }
    }

    async fn sessions(&mut self) -> Result<Arc<Live>, Fault> {
        let rows = self.ask(async |client| client.query(SESSIONS, &[]).await).await?;
        let json = |error: serde_json::Error| Fault::Defect(error.to_string());
        let mut sessions = Vec::with_capacity(rows.len());
        for row in &rows {
            sessions.push(Session {
                id: SessionId(row.try_get(0)?),
                worker: row.try_get(1)?,
                queues: serde_json::from_str(row.try_get(2)?).map_err(json)?,
                tasks: serde_json::from_str(row.try_get(3)?).map_err(json)?,
                since_ms: row.try_get(4)?,
            });
        }
        Ok(Arc::new(Live::of(sessions)))
    }
}

fn notice_of(message: AsyncMessage) -> Option<String> {
    match message {
        AsyncMessage::Notification(notification) => Some(notification.payload().to_owned()),
        _ => None,
    }
}
