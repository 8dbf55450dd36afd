//! The store as the gateway uses it: creates in batches with those of other clients, everything else one by one, each within a deadline.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chassis::client::{Answer, Call, CallError, Coalescer, CoalescerLimits, Error, StoreClient};
use chassis::config::Address;
use chassis::http::{Context, Rejection};
use chassis::task::Tasks;
use futures_util::future::join_all;
use http::{HeaderName, HeaderValue};
use protocol::access::{Act, Audited, act_of};
use protocol::bulk_retry::{RetryFilter, RetryPreview};
use protocol::ids::Incarnation;
use protocol::problem::{Kind, Problem};
use protocol::store_api::{self, Applied, Apply, Command, Create, Created, Pull, Pulled, Reply};
use protocol::tenant::{self, Tenant};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use crate::access::{Caller, Principal};
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

/// What somebody wants created.
type Asked<T> = (Arc<Principal>, T);

/// The store, whoever asks. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Stores(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: StoreClient,
    creator: Coalescer<Asked<Create>, CreateAnswer, Error>,
    /// Batches that clients made; each is a request of its own, so that it is applied as one.
    batches: Coalescer<Asked<Vec<Create>>, Vec<CreateAnswer>, Error>,
    deadline: Duration,
    /// For errors.
    address: Address,
    /// Reads at once; more wait, because thousands of waiters may want to read at the same moment.
    reads: Semaphore,
}

/// The store as one caller may use it: each call is for the caller's tenant, and what operators do is recorded.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    stores: Stores,
    caller: Caller,
}

impl Stores {
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
        let reads = Semaphore::new(READS_MAX);
        let (client, address) = (client.clone(), address.clone());
        Self(Arc::new(Inner { client, creator, batches, deadline, address, reads }))
    }

    /// As this caller may use it.
    pub(crate) fn of(&self, caller: &Caller) -> Store {
        Store { stores: self.clone(), caller: caller.clone() }
    }
}

impl Store {
    fn inner(&self) -> &Inner {
        &self.stores.0
    }

    /// The call, for the caller's tenant.
    fn ours(&self, call: Call) -> Call {
        for_tenant(call, self.caller.tenant()).within(self.inner().deadline)
    }

    /// Records a job. Its bell, if it is ours to ring, is rung before this returns, and also when nobody waits for the answer any more.
    ///
    /// # Errors
    /// What the store refuses it for; 503 if it is away, slow or overloaded.
    pub(crate) async fn create(&self, mut create: Create) -> Result<Created, Rejection> {
        let span = traced::making(&mut create);
        let asked = (Arc::clone(self.caller.principal()), create);
        let answer =
            self.answered(self.inner().creator.call(asked)).await.and_then(|created| created.map_err(Into::into));
        traced::made(span, &answer);
        answer
    }

    /// Records the jobs of one batch in one commit; each has its own answer, in order. Bells as in [`Store::create`].
    ///
    /// # Errors
    /// 503 if the store is away, slow or overloaded, or too many batches wait: what became of the jobs is unknown.
    pub(crate) async fn create_batch(&self, mut creates: Vec<Create>) -> Result<Vec<CreateAnswer>, Rejection> {
        let spans: Vec<_> = creates.iter_mut().map(traced::making).collect();
        let asked = (Arc::clone(self.caller.principal()), creates);
        let answers = self.answered(self.inner().batches.call(asked)).await?;
        spans.into_iter().zip(&answers).for_each(|(span, answer)| traced::made(span, answer));
        Ok(answers)
    }

    async fn answered<T>(&self, call: impl Future<Output = Result<T, CallError<Error>>>) -> Result<T, Rejection> {
        match tokio::time::timeout(self.inner().deadline, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(CallError::Failed(error))) => Err(error.into()),
            Ok(Err(error @ (CallError::Overloaded | CallError::Dropped))) => {
                tracing::warn!(%error, "a job was not created");
                Err(Kind::Unavailable.into())
            }
            Err(_) => {
                tracing::warn!(deadline = ?self.inner().deadline, "the store did not answer a create in time");
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
        let Inner { client, deadline, .. } = self.inner();
        let answers = apply_all(client, vec![self.audited(command)], *deadline, repeat, self.caller.tenant()).await?;
        let only = answers.items.into_iter().next().ok_or(Kind::BadGateway)?;
        Ok((answers.incarnation, only?))
    }

    /// An operator's command with who gives it.
    fn audited(&self, command: Command) -> Command {
        let act = act_of(&command).and_then(|(action, target)| self.act(action, target));
        match act {
            Some(act) => Command::Audited(Box::new(Audited { act, command })),
            None => command,
        }
    }

    fn act(&self, action: &str, target: String) -> Option<Act> {
        let request_id = Context::current().map(|context| context.request_id().to_owned()).unwrap_or_default();
        self.caller.act(action, target, request_id)
    }

    /// Records what an operator has done elsewhere, and what it was refused with. It is done whatever becomes of the record.
    pub(crate) async fn record(&self, action: &'static str, target: String, refused: Option<Problem>) {
        let Some(act) = self.act(action, target) else { return };
        if let Err(error) = self.apply(Command::Audit(Box::new((act.clone(), refused)))).await {
            tracing::error!(?act, error = %error.0, "what an operator has done could not be recorded");
        }
    }

    /// What a retry of many jobs would do.
    ///
    /// # Errors
    /// 503 if the store is away or slow.
    pub(crate) async fn preview_retry(&self, filter: &RetryFilter) -> Result<RetryPreview, Error> {
        let peer = self.inner().client.peer();
        let call = Call::post("/retries:preview", filter).map_err(|error| peer.unsendable(&error))?;
        let answer = peer.call(&self.ours(call).repeatable()).await?;
        Ok(answer.json()?.body)
    }

    /// Takes jobs, waiting for them at most so long. Sent once: a copy that comes late would take jobs for nobody.
    ///
    /// # Errors
    /// What the store refuses it for; 503 if it is away or slow.
    pub(crate) async fn pull(&self, pull: &Pull, wait: Duration) -> Result<Pulled, Rejection> {
        let Inner { client, deadline, .. } = self.inner();
        let peer = client.peer();
        let path = format!("/pull?wait_ms={}", wait.as_millis());
        let call = Call::post(path, pull).map_err(|error| peer.unsendable(&error))?;
        Ok(peer.call(&self.ours(call).within(wait + *deadline)).await?.json()?.body)
    }

    /// Reads a path of the store.
    ///
    /// # Errors
    /// Any; one of 400 and more is an [`Error::Problem`].
    pub(crate) async fn get(&self, path: impl Into<String>) -> Result<Answer<Bytes>, Error> {
        let Inner { client, deadline, address, reads, .. } = self.inner();
        let turn = tokio::time::timeout(*deadline, reads.acquire()).await;
        if turn.is_err() {
            return Err(Error::Timeout { address: address.clone(), deadline: *deadline });
        }
        client.peer().call(&self.ours(Call::get(path))).await
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
    tenant: &Tenant,
) -> Result<Answers, Error> {
    let peer = client.peer();
    let count = items.len();
    let call = Call::post("/apply", &Apply { items }).map_err(|error| peer.unsendable(&error))?.within(deadline);
    let call = for_tenant(call, tenant);
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

/// The call, made for this tenant.
fn for_tenant(call: Call, tenant: &Tenant) -> Call {
    match HeaderValue::from_str(tenant.as_str()) {
        Ok(name) if !tenant.is_default() => call.header(HeaderName::from_static(tenant::HEADER), name),
        _ => call,
    }
}

/// Sends the batches of creates and rings what comes back.
#[derive(Clone, Debug)]
struct Creator {
    client: StoreClient,
    bells: Bells,
    deadline: Duration,
}

impl Creator {
    async fn create_all(self, batch: Vec<Asked<Create>>) -> Result<Vec<CreateAnswer>, Error> {
        metrics::counter!("longshore_create_batches_total", "program" => "gateway").increment(1);
        let jobs = batch.len().try_into().unwrap_or(u64::MAX);
        metrics::counter!("longshore_created_in_batches_total", "program" => "gateway").increment(jobs);
        let creator = &self;
        let groups = by_tenant(batch).into_iter().map(|Group { principal, places, items }| async move {
            places.into_iter().zip(creator.create_parts(&principal.tenant, items).await)
        });
        let mut answers: Vec<(usize, CreateAnswer)> = join_all(groups).await.into_iter().flatten().collect();
        answers.sort_by_key(|(place, _)| *place);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    async fn create_parts(&self, tenant: &Tenant, creates: Vec<Create>) -> Vec<CreateAnswer> {
        let bytes = |create: &Create| create.payload.as_deref().map_or(0, |payload| RawValue::get(payload).len());
        let answers = parts(creates, bytes).into_iter().map(|part| self.create_part(tenant, part));
        join_all(answers).await.into_iter().flatten().collect()
    }

    async fn create_part(&self, tenant: &Tenant, part: Vec<Create>) -> Vec<CreateAnswer> {
        let count = part.len();
        match self.create_at_once(tenant, part).await {
            Ok(answers) => answers,
            Err(error) => vec![Err(error); count],
        }
    }

    /// Batches of clients, each in a request of its own.
    async fn create_each(self, batches: Vec<Asked<Vec<Create>>>) -> Result<Vec<Vec<CreateAnswer>>, Error> {
        let mut answers = Vec::with_capacity(batches.len());
        for (principal, batch) in batches {
            answers.push(self.create_at_once(&principal.tenant, batch).await?);
        }
        Ok(answers)
    }

    async fn create_at_once(&self, tenant: &Tenant, creates: Vec<Create>) -> Result<Vec<CreateAnswer>, Error> {
        let rings: Vec<Ring> = creates.iter().map(Ring::of).collect();
        let items = creates.into_iter().map(|create| Command::Create(Box::new(create))).collect();
        let applied = apply_all(&self.client, items, self.deadline, Repeat::WhenUnsure, tenant).await?;
        let Answers { address, items, .. } = applied;
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

/// What one tenant's clients want created, and where in the batch each stands.
struct Group<T> {
    principal: Arc<Principal>,
    places: Vec<usize>,
    items: Vec<T>,
}

/// The batch by tenants, of which most batches have one.
fn by_tenant<T>(batch: Vec<Asked<T>>) -> Vec<Group<T>> {
    let mut groups: Vec<Group<T>> = Vec::new();
    for (place, (principal, item)) in batch.into_iter().enumerate() {
        let known = groups.iter().position(|group| group.principal.tenant == principal.tenant);
        let known = known.unwrap_or_else(|| {
            groups.push(Group { principal, places: Vec::new(), items: Vec::new() });
            groups.len() - 1
        });
        groups[known].places.push(place);
        groups[known].items.push(item);
    }
    groups
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
