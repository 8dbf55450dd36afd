//! The store as the gateway uses it: creates in batches with those of other clients, everything else one by one, each within a deadline.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chassis::client::{Answer, Call, CallError, Coalescer, CoalescerLimits, Error, StoreClient};
use chassis::config::Address;
use chassis::http::Rejection;
use chassis::task::Tasks;
use futures_util::future::join_all;
use protocol::bulk_retry::{RetryFilter, RetryPreview};
use protocol::ids::Incarnation;
use protocol::problem::Kind;
use protocol::store_api::{self, Applied, Apply, Command, Create, Created, Pull, Pulled, Reply};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use crate::jobs::bells::{Bells, Ring};
use crate::jobs::traced;

/// A batch is sent in parts of about this many bytes of payload: a part must fit into the store's largest body.
const PART_BYTES: usize = 1 << 20;
const READS_MAX: usize = 256;

/// Batches of clients that are under way, and those that wait; their bodies are bounded by the admission.
const BATCHES: CoalescerLimits =
    CoalescerLimits { in_flight: 4, patience: Duration::ZERO, batch: 1, waiting: READS_MAX };

/// What became of one create.
pub(crate) type CreateAnswer = Result<Created, Error>;

#[derive(Clone, Debug)]
pub(crate) struct Store {
    client: StoreClient,
    creator: Coalescer<Create, CreateAnswer, Error>,
    /// Batches that clients made; each is a request of its own, so that it is applied as one.
    batches: Coalescer<Vec<Create>, Vec<CreateAnswer>, Error>,
    deadline: Duration,
    /// For errors.
    address: Address,
    /// Reads at once; more wait, because thousands of waiters may want to read at the same moment.
    reads: Arc<Semaphore>,
}

impl Store {
    pub(crate) fn start(
        client: &StoreClient,
        address: &Address,
        bells: &Bells,
        deadline: Duration,
        tasks: &Tasks,
    ) -> Self {
        let creator = Creator { client: client.clone(), bells: bells.clone(), deadline };
        let of_batches = creator.clone();
        let send = move |batch| of_batches.clone().create_each(batch);
        let batches = Coalescer::start(tasks, "batches", BATCHES, send);
        let send = move |batch| creator.clone().create_all(batch);
        let creator = Coalescer::start(tasks, "creator", CoalescerLimits::default(), send);
        let reads = Arc::new(Semaphore::new(READS_MAX));
        Self { client: client.clone(), creator, batches, deadline, address: address.clone(), reads }
    }

    /// Records a job. Its bell, if it is ours to ring, is rung before this returns, and also when nobody waits for the answer any more.
    ///
    /// # Errors
    /// What the store refuses it for; 503 if it is away, slow or overloaded.
    pub(crate) async fn create(&self, mut create: Create) -> Result<Created, Rejection> {
        let span = traced::making(&mut create);
        let answer = self.answered(self.creator.call(create)).await.and_then(|created| created.map_err(Into::into));
        traced::made(span, &answer);
        answer
    }

    /// Records the jobs of one batch in one commit; each has its own answer, in order. Bells as in [`Store::create`].
    ///
    /// # Errors
    /// 503 if the store is away, slow or overloaded, or too many batches wait: what became of the jobs is unknown.
    pub(crate) async fn create_batch(&self, mut creates: Vec<Create>) -> Result<Vec<CreateAnswer>, Rejection> {
        let spans: Vec<_> = creates.iter_mut().map(traced::making).collect();
        let answers = self.answered(self.batches.call(creates)).await?;
        spans.into_iter().zip(&answers).for_each(|(span, answer)| traced::made(span, answer));
        Ok(answers)
    }

    async fn answered<T>(&self, call: impl Future<Output = Result<T, CallError<Error>>>) -> Result<T, Rejection> {
        match tokio::time::timeout(self.deadline, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(CallError::Failed(error))) => Err(error.into()),
            Ok(Err(error @ (CallError::Overloaded | CallError::Dropped))) => {
                tracing::warn!(%error, "a job was not created");
                Err(Kind::Unavailable.into())
            }
            Err(_) => {
                tracing::warn!(deadline = ?self.deadline, "the store did not answer a create in time");
                Err(Kind::Unavailable.into())
            }
        }
    }

    /// Applies one command, sent once.
    ///
    /// # Errors
    /// What the store refuses it for; 503 if it is away or slow.
    pub(crate) async fn apply(&self, command: Command) -> Result<Reply, Rejection> {
        Ok(self.apply_one(command, Repeat::Never).await?.1)
    }

    /// Applies one command, sent once, and says in which history of the store.
    ///
    /// # Errors
    /// What the store refuses it for; 503 if it is away or slow.
    pub(crate) async fn apply_in(&self, command: Command) -> Result<(Incarnation, Reply), Rejection> {
        self.apply_one(command, Repeat::Never).await
    }

    /// Applies one command that does nothing when it comes a second time, so it may be sent twice.
    ///
    /// # Errors
    /// What the store refuses it for; 503 if it is away or slow.
    pub(crate) async fn apply_idempotent(&self, command: Command) -> Result<Reply, Rejection> {
        Ok(self.apply_one(command, Repeat::WhenUnsure).await?.1)
    }

    async fn apply_one(&self, command: Command, repeat: Repeat) -> Result<(Incarnation, Reply), Rejection> {
        let answers = apply_all(&self.client, vec![command], self.deadline, repeat).await?;
        let only = answers.items.into_iter().next().ok_or(Kind::BadGateway)?;
        Ok((answers.incarnation, only?))
    }

    /// What a retry of many jobs would do.
    ///
    /// # Errors
    /// 503 if the store is away or slow.
    pub(crate) async fn preview_retry(&self, filter: &RetryFilter) -> Result<RetryPreview, Error> {
        let peer = self.client.peer();
        let call = Call::post("/retries:preview", filter).map_err(|error| peer.unsendable(&error))?;
        let answer = peer.call(&call.within(self.deadline).repeatable()).await?;
        Ok(answer.json()?.body)
    }

    /// Takes jobs, waiting for them at most so long. Sent once: a copy that comes late would take jobs for nobody.
    ///
    /// # Errors
    /// What the store refuses it for; 503 if it is away or slow.
    pub(crate) async fn pull(&self, pull: &Pull, wait: Duration) -> Result<Pulled, Rejection> {
        let peer = self.client.peer();
        let path = format!("/pull?wait_ms={}", wait.as_millis());
        let call = Call::post(path, pull).map_err(|error| peer.unsendable(&error))?;
        Ok(peer.call(&call.within(wait + self.deadline)).await?.json()?.body)
    }

    /// Reads a path of the store.
    ///
    /// # Errors
    /// Any; one of 400 and more is an [`Error::Problem`].
    pub(crate) async fn get(&self, path: impl Into<String>) -> Result<Answer<Bytes>, Error> {
        let turn = tokio::time::timeout(self.deadline, self.reads.acquire()).await;
        if turn.is_err() {
            return Err(Error::Timeout { address: self.address.clone(), deadline: self.deadline });
        }
        self.client.peer().call(&Call::get(path).within(self.deadline)).await
    }
}

/// Whether commands may be sent twice when nobody knows if they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    WhenUnsure,
    Never,
}

/// The answers to the commands of one request, in their order.
#[derive(Debug)]
pub(crate) struct Answers {
    address: Address,
    incarnation: Incarnation,
    pub(crate) items: Vec<Result<Reply, Error>>,
}

impl Answers {
    /// The error of a reply that does not belong to its command.
    fn misunderstood(address: &Address, reply: &Reply) -> Error {
        Error::Malformed {
            address: address.clone(),
            reason: format!("it does not belong to the command: {}", reply.name()),
        }
    }
}

/// Applies commands in one request.
///
/// # Errors
/// When the request as a whole failed.
pub(crate) async fn apply_all(
    client: &StoreClient,
    items: Vec<Command>,
    deadline: Duration,
    repeat: Repeat,
) -> Result<Answers, Error> {
    let peer = client.peer();
    let count = items.len();
    let call = Call::post("/apply", &Apply { items }).map_err(|error| peer.unsendable(&error))?.within(deadline);
    let call = if repeat == Repeat::WhenUnsure { call.repeatable() } else { call };
    let answer = peer.call(&call).await?.json::<Applied>()?;
    let address = answer.address;
    if answer.body.items.len() != count {
        let reason = format!("{} answers to {count} commands", answer.body.items.len());
        return Err(Error::Malformed { address, reason });
    }
    let incarnation = answer.body.incarnation;
    let item = |item| match item {
        store_api::Answer::Ok(reply) => Ok(*reply),
        store_api::Answer::Error(problem) => Err(Error::Problem { address: address.clone(), problem }),
    };
    let items = answer.body.items.into_iter().map(item).collect();
    Ok(Answers { address, incarnation, items })
}

/// Sends the batches of creates and rings what comes back.
#[derive(Clone, Debug)]
struct Creator {
    client: StoreClient,
    bells: Bells,
    deadline: Duration,
}

impl Creator {
    async fn create_all(self, batch: Vec<Create>) -> Result<Vec<CreateAnswer>, Error> {
        metrics::counter!("longshore_create_batches_total", "program" => "gateway").increment(1);
        let jobs = batch.len().try_into().unwrap_or(u64::MAX);
        metrics::counter!("longshore_created_in_batches_total", "program" => "gateway").increment(jobs);
        let parts = parts(batch, |create| create.payload.as_deref().map_or(0, |payload| RawValue::get(payload).len()));
        let answers = join_all(parts.into_iter().map(|part| self.create_part(part))).await;
        Ok(answers.into_iter().flatten().collect())
    }

    async fn create_part(&self, part: Vec<Create>) -> Vec<CreateAnswer> {
        let count = part.len();
        match self.create_at_once(part).await {
            Ok(answers) => answers,
            Err(error) => vec![Err(error); count],
        }
    }

    /// Batches of clients, each in a request of its own.
    async fn create_each(self, batches: Vec<Vec<Create>>) -> Result<Vec<Vec<CreateAnswer>>, Error> {
        let mut answers = Vec::with_capacity(batches.len());
        for batch in batches {
            answers.push(self.create_at_once(batch).await?);
        }
        Ok(answers)
    }

    async fn create_at_once(&self, creates: Vec<Create>) -> Result<Vec<CreateAnswer>, Error> {
        let rings: Vec<Ring> = creates.iter().map(Ring::of).collect();
        let items = creates.into_iter().map(|create| Command::Create(Box::new(create))).collect();
        let Answers { address, items, .. } = apply_all(&self.client, items, self.deadline, Repeat::WhenUnsure).await?;
        Ok(items.into_iter().zip(rings).map(|(reply, ring)| self.created(&address, reply?, ring)).collect())
    }

    fn created(&self, address: &Address, reply: Reply, ring: Ring) -> CreateAnswer {
        match reply {
            Reply::Created(created) => {
                if let Some(dispatch) = created.bell {
                    self.bells.ring(ring, created.job_id, dispatch, created.created_at);
                }
                Ok(created)
            }
            other => Err(Answers::misunderstood(address, &other)),
        }
    }
}

/// The items in their order, cut into parts whose sizes sum to about [`PART_BYTES`] at most; a larger item is alone.
fn parts<T>(items: Vec<T>, bytes_of: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut free_bytes = 0;
    for item in items {
        let bytes = bytes_of(&item);
        match parts.last_mut() {
            Some(part) if bytes <= free_bytes => part.push(item),
            _ => {
                parts.push(vec![item]);
                free_bytes = PART_BYTES;
            }
        }
        free_bytes = free_bytes.saturating_sub(bytes);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_cut_where_it_would_grow_too_large() {
        let check = |bytes: &[usize], expected: &[usize]| {
            let sizes: Vec<usize> = parts(bytes.to_vec(), |bytes| *bytes).iter().map(Vec::len).collect();
            assert_eq!(sizes, expected, "{bytes:?}");
        };
        check(&[], &[]);
        check(&[0, 10, 100], &[3]);
        check(&[PART_BYTES, 1], &[1, 1]);
        check(&[1, PART_BYTES, 1, 1], &[1, 1, 2]);
        check(&[PART_BYTES / 2, PART_BYTES / 2, 1], &[2, 1]);
        check(&[3 * PART_BYTES, 3 * PART_BYTES], &[1, 1]);
    }
}
