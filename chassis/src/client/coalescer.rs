//! Many callers, few calls: what comes while a batch is in flight goes out as one batch when that is answered. An idle caller waits for
//! nothing; behind a batch that takes long, further ones go out after a while. A batch that fails may have been too large, so the next
//! ones are half as large until one gets through.

use std::fmt;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::task::Tasks;

/// The bounds of a [`Coalescer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoalescerLimits {
    /// Batches on their way at once.
    pub in_flight: usize,
    /// How long the next batch waits for the answer to the one before it. One at a time makes larger batches, and fewer wake-ups for all
    /// who take part; a batch that is stuck must not hold up the others.
    pub patience: Duration,
    /// Items of one batch, fewer for a while after one has failed.
    pub batch: usize,
    /// Items that wait; a further one is refused.
    pub waiting: usize,
}

impl Default for CoalescerLimits {
    fn default() -> CoalescerLimits {
        CoalescerLimits { in_flight: 4, patience: Duration::from_millis(10), batch: 128, waiting: 8_192 }
    }
}

/// Why a call through a [`Coalescer`] has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError<E> {
    /// Too many wait already; this one was not sent.
    #[error("too many calls are waiting")]
    Overloaded,
    /// The batch failed as a whole; every caller in it gets this.
    #[error(transparent)]
    Failed(E),
    /// The driver has ended, or the batch's answer had another length than the batch: the fate is unknown.
    #[error("the call was dropped")]
    Dropped,
}

/// Gathers calls into batches. Clones share the driver, which ends with the last of them.
pub struct Coalescer<Req, Resp, E> {
    waiting: mpsc::Sender<Waiting<Req, Resp, E>>,
}

struct Waiting<Req, Resp, E> {
    request: Req,
    answer: Caller<Resp, E>,
}

impl<Req, Resp, E> Coalescer<Req, Resp, E>
where
    Req: Send + 'static,
    Resp: Send + 'static,
    E: Clone + Send + 'static,
{
    /// Starts the driver. `send` sends one batch and answers its items in order.
    pub fn start<S, F>(tasks: &Tasks, name: &'static str, limits: CoalescerLimits, send: S) -> Coalescer<Req, Resp, E>
    where
        S: Fn(Vec<Req>) -> F + Send + 'static,
        F: Future<Output = Result<Vec<Resp>, E>> + Send + 'static,
    {
        let (waiting, queue) = mpsc::channel(limits.waiting);
        tasks.spawn(name, drive(queue, limits, send));
        Coalescer { waiting }
    }

    /// Sends one request with those that wait at the same time.
    ///
    /// Dropped before its batch goes out, it is not sent.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call(&self, request: Req) -> Result<Resp, CallError<E>> {
        let (answer, answered) = oneshot::channel();
        self.waiting.try_send(Waiting { request, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CallError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => CallError::Dropped,
        })?;
        answered.await.unwrap_or(Err(CallError::Dropped))
    }
}

impl<Req, Resp, E> Clone for Coalescer<Req, Resp, E> {
    fn clone(&self) -> Self {
        Coalescer { waiting: self.waiting.clone() }
    }
}

impl<Req, Resp, E> fmt::Debug for Coalescer<Req, Resp, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalescer").field("free_places", &self.waiting.capacity()).finish_non_exhaustive()
    }
}

async fn drive<Req, Resp, E, S, F>(mut queue: mpsc::Receiver<Waiting<Req, Resp, E>>, limits: CoalescerLimits, send: S)
where
    E: Clone,
    S: Fn(Vec<Req>) -> F,
    F: Future<Output = Result<Vec<Resp>, E>>,
{
    let mut in_flight = FuturesUnordered::new();
    let mut gathered = Vec::new();
    let mut is_open = true;
    let mut batch = limits.batch;
    let mut patient_until = Instant::now();
    while is_open || !in_flight.is_empty() {
        let must_wait = !in_flight.is_empty() && Instant::now() < patient_until;
        let next = async {
            if must_wait {
                sleep_until(patient_until).await;
            }
            queue.recv_many(&mut gathered, batch).await
        };
        tokio::select! {
            Some(got_through) = in_flight.next() => {
                batch = if got_through { (batch * 2).min(limits.batch) } else { (batch / 2).max(1) };
            }
            taken = next, if is_open && in_flight.len() < limits.in_flight => {
                is_open = taken > 0;
                patient_until = Instant::now() + limits.patience;
                // Those whose callers have gone are not sent.
                gathered.retain(|waiting| !waiting.answer.is_closed());
                if !gathered.is_empty() {
                    let (requests, callers) = split(&mut gathered);
                    in_flight.push(deliver(callers, send(requests)));
                }
            }
        }
    }
}

type Caller<Resp, E> = oneshot::Sender<Result<Resp, CallError<E>>>;

fn split<Req, Resp, E>(gathered: &mut Vec<Waiting<Req, Resp, E>>) -> (Vec<Req>, Vec<Caller<Resp, E>>) {
    gathered.drain(..).map(|waiting| (waiting.request, waiting.answer)).unzip()
}

/// Gives each caller its part of the batch's answer, and says whether there was one.
async fn deliver<Resp, E: Clone>(
    callers: Vec<Caller<Resp, E>>,
    answer: impl Future<Output = Result<Vec<Resp>, E>>,
) -> bool {
    let count = callers.len();
    let result = answer.await;
    let got_through = result.is_ok();
    // A caller that has gone does not want its answer; that is its right.
    match result {
        Ok(answers) if answers.len() == count => {
            for (caller, answer) in callers.into_iter().zip(answers) {
                drop(caller.send(Ok(answer)));
            }
        }
        Ok(answers) => {
            tracing::error!(sent = count, answered = answers.len(), "a batch got the wrong number of answers")
        }
        Err(error) => {
            for caller in callers {
                drop(caller.send(Err(CallError::Failed(error.clone()))));
            }
        }
    }
    got_through
}

#[cfg(test)]
#[path = "coalescer_tests.rs"]
mod tests;
