//! The calls to the store. Claims, outcomes and releases of all slots travel together; heartbeats and news go alone, so that they
//! wait for nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chassis::client::{Call, CallError, Coalescer, CoalescerLimits, Error, Http, StoreClient};
use chassis::config::Addresses;
use chassis::health::Health;
use chassis::task::Tasks;
use protocol::ids::SessionId;
use protocol::problem::{Kind, Problem};
use protocol::store_api::{
    Answer, Applied, Apply, Command, Complete, Heartbeat, HeartbeatReply, News, Outcome, Release, Reply,
};
use thiserror::Error;

/// How long one batch may take; all calls in it may be repeated.
const APPLY_DEADLINE: Duration = Duration::from_secs(5);
/// Commands in a batch: as many claims are answered with as many payloads of up to a mebibyte.
const BATCH: usize = 48;
/// A larger result, or log, travels alone, so that a batch stays far below the store's bound on a request.
const ALONE_BYTES: usize = 8 * 1024;
/// Added to how long the store may hold a question, for the way.
const NEWS_SLACK: Duration = Duration::from_secs(5);
const STORE: &str = "store";

/// Why a call has no answer.
#[derive(Clone, Debug, Error)]
pub(crate) enum StoreError {
    /// Register, and repeat the call.
    #[error("the store does not know the session")]
    UnknownSession,
    /// Away, slow or overloaded: repeat the call.
    #[error("{reason}")]
    Away { reason: String, may_have_been_applied: bool },
    /// The call itself is wrong; repeating it is of no use.
    #[error("the store refused: {0}")]
    Refused(Box<Problem>),
}

type Batches = Coalescer<Command, Answer, Error>;

/// A handle on the store; clones share connections and batches.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    client: StoreClient,
    batches: Batches,
    health: Health,
    is_away: Arc<AtomicBool>,
}

impl Store {
    /// The driver of the batches belongs to `tasks`.
    #[must_use]
    pub(crate) fn new(http: &Http, addresses: &Addresses, tasks: &Tasks, health: Health) -> Self {
        let client = StoreClient::new(http, addresses);
        let limits = CoalescerLimits { in_flight: 2, batch: BATCH, ..CoalescerLimits::default() };
        let for_batches = client.clone();
        let batches = Coalescer::start(tasks, "store batches", limits, move |items| {
            let client = for_batches.clone();
            async move { apply(&client, items, APPLY_DEADLINE).await }
        });
        Self { client, batches, health, is_away: Arc::default() }
    }

    /// A claim, an outcome or a release, with those of other slots.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn apply(&self, command: Command) -> Result<Reply, StoreError> {
        let answer = if is_large(&command) {
            self.alone(command, APPLY_DEADLINE).await
        } else {
            self.batches.call(command).await.map_err(|error| match error {
                CallError::Failed(error) => error.into(),
                CallError::Overloaded => away(error.to_string(), false),
                CallError::Dropped => away(error.to_string(), true),
            })
        };
        self.judge(answer)
    }

    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn heartbeat(
        &self,
        heartbeat: Heartbeat,
        deadline: Duration,
    ) -> Result<HeartbeatReply, StoreError> {
        match self.judge(self.alone(Command::Heartbeat(heartbeat), deadline).await)? {
            Reply::Heartbeat(reply) => Ok(reply),
            other => Err(unexpected(&other)),
        }
    }

    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn end_session(&self, session: SessionId, deadline: Duration) -> Result<(), StoreError> {
        self.judge(self.alone(Command::EndSession { session }, deadline).await).map(drop)
    }

    /// Answered when something is new, or after the wait.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn news(&self, session: SessionId, after: u64, wait: Duration) -> Result<News, StoreError> {
        let path = format!("/sessions/{session}/news?after={after}&wait_ms={}", wait.as_millis());
        let answer = self.client.peer().call(&Call::get(path).within(wait + NEWS_SLACK)).await?;
        Ok(answer.json()?.body)
    }

    async fn alone(&self, command: Command, deadline: Duration) -> Result<Answer, StoreError> {
        let answers = apply(&self.client, vec![command], deadline).await?;
        answers.into_iter().next().ok_or_else(|| away("an answer without items".to_owned(), true))
    }

    /// Tells the two refusals apart, and the health whether the store is there.
    fn judge(&self, answer: Result<Answer, StoreError>) -> Result<Reply, StoreError> {
        let reply = match answer {
            Ok(Answer::Ok(reply)) => Ok(*reply),
            Ok(Answer::Error(problem)) => Err(refused(problem)),
            Err(error) => Err(error),
        };
        if let Err(StoreError::Away { reason, .. }) = &reply {
            self.is_away.store(true, Ordering::Relaxed);
            self.health.lost(STORE, reason.clone());
        } else if self.is_away.swap(false, Ordering::Relaxed) {
            self.health.found(STORE);
        }
        reply
    }
}

async fn apply(client: &StoreClient, items: Vec<Command>, deadline: Duration) -> Result<Vec<Answer>, Error> {
    let sent = items.len();
    let peer = client.peer();
    let call = Call::post("/apply", &Apply { items }).map_err(|error| peer.unsendable(&error))?;
    let applied = peer.call(&call.within(deadline).repeatable()).await?.json::<Applied>()?;
    if applied.body.items.len() == sent {
        return Ok(applied.body.items);
    }
    let reason = format!("{} answers to {sent} commands", applied.body.items.len());
    Err(Error::Malformed { address: applied.address, reason })
}

/// Whether it could make a batch too large.
fn is_large(command: &Command) -> bool {
    let (said, output) = match command {
        Command::Complete(Complete { outcome, output, .. }) => {
            let said = match outcome {
                Outcome::Succeeded { result } => result.as_ref().map_or(0, |result| result.get().len()),
                Outcome::Failed { error, .. } => error.message.len(),
            };
            (said, output)
        }
        Command::Release(Release { output, .. }) => (0, output),
        _ => return false,
    };
    let written = output.as_ref().map_or(0, |output| output.stdout.text.len() + output.stderr.text.len());
    said + written > ALONE_BYTES
}

fn away(reason: String, may_have_been_applied: bool) -> StoreError {
    StoreError::Away { reason, may_have_been_applied }
}

fn refused(problem: Box<Problem>) -> StoreError {
    match problem.kind() {
        Some(Kind::UnknownSession) => StoreError::UnknownSession,
        _ if problem.status == 429 || problem.status >= 500 => away(problem.to_string(), true),
        _ => StoreError::Refused(problem),
    }
}

fn unexpected(reply: &Reply) -> StoreError {
    tracing::error!(reply = reply.name(), "an answer of the wrong kind");
    away("the store gave an answer of the wrong kind".to_owned(), true)
}

/// An answer that is not understood is no reason to drop a job: the store is being repaired or replaced.
impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let may_have_been_applied = error.may_have_been_applied();
        match error {
            Error::Problem { problem, .. } => refused(problem),
            other => away(other.to_string(), may_have_been_applied),
        }
    }
}
