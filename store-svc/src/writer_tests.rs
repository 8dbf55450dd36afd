//! The writer around a storage that fails on purpose.

use std::sync::mpsc;

use chassis::testing::wait_until;
use protocol::ids::{Dispatch, Incarnation, JobId, RetryId, SessionId};
use protocol::problem::Kind;
use protocol::store_api::{BellId, Command, JobFence, Reply};
use protocol::tenant::Tenant;

use super::lanes::WAITING_MAX;
use super::*;
use crate::samples;
use crate::storage::{BellSeq, Reader, RetryStep, Room, Rung, RungBell, Sending, Sent, SequencerRenewal, Signals};

/// Keeps the ids that were "cancelled" in transactions that were committed. The id 0 breaks its transaction.
#[derive(Debug, Default)]
struct Stub {
    committed: Vec<JobId>,
    transactions: Vec<usize>,
    hints: usize,
}

/// A storage that waits for a permit before each transaction.
struct Gated {
    permits: mpsc::Receiver<()>,
    stub: Arc<std::sync::Mutex<Stub>>,
}

struct Transaction {
    ids: Vec<JobId>,
    hints: usize,
}

const BROKEN: JobId = JobId(uuid::Uuid::nil());

fn unused<T>() -> Result<T, StorageError> {
    Err(StorageError::Internal("not in this test".to_owned()))
}

impl Transitions for Transaction {
    fn foresee(&mut self, _: &[(&Tenant, &Command)]) -> Result<(), StorageError> {
        Ok(())
    }

    fn apply(&mut self, _: &Tenant, command: &Command) -> Result<Answer, StorageError> {
        match command {
            Command::Cancel { job_id } if *job_id == BROKEN => unused(),
            Command::Cancel { job_id } => {
                self.ids.push(*job_id);
                Ok(Answer::Ok(Box::new(Reply::Done)))
            }
            Command::Create(create) => {
                self.ids.push(create.job_id);
                Ok(Answer::Ok(Box::new(Reply::Done)))
            }
            Command::Bells(_) => {
                self.hints += 1;
                Ok(Answer::Ok(Box::new(Reply::Done)))
            }
            _ => unused(),
        }
    }

    fn restless(&self) -> Vec<String> {
        Vec::new()
    }

    fn ring(&mut self, _: &str) -> Result<Rung, StorageError> {
        unused()
    }

    fn unring(&mut self, _: &[BellId]) -> Result<(), StorageError> {
        unused()
    }

    fn take_over(&mut self, _: BellSeq) -> Result<Vec<RungBell>, StorageError> {
        unused()
    }

    fn lose_bells(&mut self, _: &str, _: BellSeq, _: bool) -> Result<u64, StorageError> {
        unused()
    }

    fn forget_bells(&mut self) -> Result<(), StorageError> {
        unused()
    }

    fn due(&mut self, _: u32) -> Result<bool, StorageError> {
        unused()
    }

    fn take_deliveries(&mut self, _: &[Room], _: u64) -> Result<Vec<Sending>, StorageError> {
        unused()
    }

    fn sent(&mut self, _: &Sent) -> Result<(), StorageError> {
        unused()
    }

    fn trim_deliveries(&mut self, _: i64, _: u32) -> Result<bool, StorageError> {
        unused()
    }

    fn recount_ticks(&mut self) -> Result<(), StorageError> {
        unused()
    }

    fn retry_some(&mut self, _: RetryId, _: u32) -> Result<RetryStep, StorageError> {
        unused()
    }

    fn reap(&mut self, _: JobFence, _: u64) -> Result<bool, StorageError> {
        unused()
    }

    fn expire_session(&mut self, _: SessionId, _: u64) -> Result<bool, StorageError> {
        unused()
    }

    fn renew_sequencer(&mut self, _: SequencerRenewal) -> Result<bool, StorageError> {
        unused()
    }

    fn expire(&mut self, _: i64, _: u32) -> Result<bool, StorageError> {
        unused()
    }

    fn trim_tombstones(&mut self, _: i64, _: u64, _: u32) -> Result<bool, StorageError> {
        unused()
    }

    fn trim_log(&mut self, _: i64, _: u32) -> Result<bool, StorageError> {
        unused()
    }

    fn trim_keys(&mut self, _: i64, _: u32) -> Result<bool, StorageError> {
        unused()
    }
}

impl Storage for Gated {
    fn transact(&mut self, _: &Context, work: Work<'_>) -> Result<Signals, StorageError> {
        self.permits.recv().map_err(|error| StorageError::Internal(error.to_string()))?;
        let mut transaction = Transaction { ids: Vec::new(), hints: 0 };
        work(&mut transaction)?;
        let mut stub = self.stub.lock().expect("not poisoned");
        stub.transactions.push(transaction.ids.len());
        stub.committed.extend(transaction.ids);
        stub.hints += transaction.hints;
        Ok(Signals::default())
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StorageError> {
        unused()
    }

    fn incarnation(&self) -> Incarnation {
        Incarnation(uuid::Uuid::nil())
    }
}

fn start() -> (Writer, mpsc::Sender<()>, Arc<std::sync::Mutex<Stub>>) {
    let (permit, permits) = mpsc::channel();
    let stub = Arc::new(std::sync::Mutex::new(Stub::default()));
    let storage = Gated { permits, stub: Arc::clone(&stub) };
    let (writer, _ended) =
        Writer::start(Box::new(storage), Arc::new(Settings::default()), Arc::new(Hub::default())).expect("a thread");
    (writer, permit, stub)
}

fn room(writer: &Writer, lane: Lane) -> usize {
    writer.entrances.of(lane).capacity()
}

fn cancel(job_id: JobId) -> Command {
    Command::Cancel { job_id }
}

#[tokio::test]
async fn what_waits_is_committed_together() {
    let (writer, permit, stub) = start();
    let first = writer.apply(Tenant::default(), vec![cancel(JobId::generate())]);
    let others = async {
        wait_until(DEADLINE, "the first is under way", async || room(&writer, Lane::UnderWay) == WAITING_MAX).await;
        let two = futures_util::future::join(
            writer.apply(Tenant::default(), vec![cancel(JobId::generate()), cancel(JobId::generate())]),
            writer.apply(Tenant::default(), vec![cancel(JobId::generate())]),
        );
        let permits = async {
            wait_until(DEADLINE, "both wait", async || room(&writer, Lane::UnderWay) == WAITING_MAX - 2).await;
            permit.send(()).expect("it runs");
            permit.send(()).expect("it runs");
        };
        futures_util::future::join(two, permits).await
    };
    let (first, ((second, third), ())) = futures_util::future::join(first, others).await;
    assert!(first.is_ok() && second.is_ok() && third.is_ok());
    assert_eq!(stub.lock().expect("not poisoned").transactions, [1, 3]);
}

const DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

fn create() -> Command {
    Command::Create(Box::new(samples::create()))
}

#[tokio::test]
async fn a_flood_of_submits_does_not_hold_up_what_is_under_way() {
    let (writer, permit, stub) = start();
    let urgent = JobId::generate();
    let first = writer.apply(Tenant::default(), vec![cancel(JobId::generate())]);
    let others = async {
        wait_until(DEADLINE, "the first is under way", async || room(&writer, Lane::UnderWay) == WAITING_MAX).await;
        let submits = (0..8).map(|_| writer.apply(Tenant::default(), (0..100).map(|_| create()).collect()));
        let flood = futures_util::future::join_all(submits);
        let late = async {
            wait_until(DEADLINE, "the flood waits", async || room(&writer, Lane::NewJobs) == WAITING_MAX - 8).await;
            writer.apply(Tenant::default(), vec![cancel(urgent)]).await
        };
        let permits = async {
            wait_until(DEADLINE, "all wait", async || room(&writer, Lane::UnderWay) == WAITING_MAX - 1).await;
            (0..3).for_each(|_| permit.send(()).expect("it runs"));
        };
        futures_util::future::join3(flood, late, permits).await
    };
    let (first, (flood, late, ())) = futures_util::future::join(first, others).await;
    assert!(first.is_ok() && late.is_ok() && flood.iter().all(Result::is_ok));
    let stub = stub.lock().expect("not poisoned");
    assert_eq!(stub.committed.get(1), Some(&urgent), "it came last and went first");
    // The flood goes on beside it, and no transaction takes all of it.
    assert_eq!(stub.transactions, [1, 601, 200]);
}

#[tokio::test]
async fn a_command_that_breaks_its_transaction_fails_alone() {
    let (writer, permit, stub) = start();
    let good = [JobId::generate(), JobId::generate()];
    for _ in 0..4 {
        permit.send(()).expect("it runs");
    }
    let commands = vec![cancel(good[0]), cancel(BROKEN), cancel(good[1])];
    let written = writer.apply(Tenant::default(), commands).await.expect("answered");
    let kinds: Vec<Option<Kind>> = written
        .answers
        .iter()
        .map(|answer| match answer {
            Answer::Ok(_) => None,
            Answer::Error(problem) => problem.kind(),
        })
        .collect();
    assert_eq!(kinds, [None, Some(Kind::Internal), None]);
    let stub = stub.lock().expect("not poisoned");
    assert_eq!((stub.committed.as_slice(), stub.transactions.as_slice()), (&good[..], &[1, 1][..]));
}

#[tokio::test]
async fn too_many_that_wait_are_told_at_once() {
    let (writer, permit, _stub) = start();
    let mut waiting = futures_util::stream::FuturesUnordered::new();
    let overloaded = loop {
        let mut next = Box::pin(writer.apply(Tenant::default(), vec![cancel(JobId::generate())]));
        match futures_util::poll!(&mut next) {
            std::task::Poll::Ready(answer) => break answer,
            std::task::Poll::Pending => waiting.push(next),
        }
    };
    assert!(matches!(overloaded, Err(WriteError::Overloaded)));
    assert!(waiting.len() >= WAITING_MAX);
    // Those who wait are answered when the disk goes on.
    let going_on = (0..waiting.len()).try_for_each(|_| permit.send(()));
    going_on.expect("it runs");
    while let Some(answer) = futures_util::StreamExt::next(&mut waiting).await {
        answer.expect("written");
    }
}

#[tokio::test]
async fn hints_wait_for_company() {
    let (writer, permit, stub) = start();
    let bell = BellId { job_id: JobId::generate(), dispatch: Dispatch(1) };
    let sent = Command::Bells(BellFates { sent: vec![bell], ring_again: Vec::new() });
    // Answered though nothing can be committed yet.
    let written = writer.apply(Tenant::default(), vec![sent.clone(), sent]).await.expect("answered");
    assert_eq!(written.answers.len(), 2);
    permit.send(()).expect("it runs");
    writer.apply(Tenant::default(), vec![cancel(JobId::generate())]).await.expect("written");
    let stub = stub.lock().expect("not poisoned");
    assert_eq!((stub.hints, stub.transactions.len()), (2, 1));
}

#[tokio::test]
async fn steps_of_our_own_are_answered_too() {
    let (writer, permit, _stub) = start();
    permit.send(()).expect("it runs");
    assert_eq!(writer.step(|transitions| Ok(transitions.restless().len())).await.expect("done"), 0);
    permit.send(()).expect("it runs");
    permit.send(()).expect("it runs");
    let failed = writer.step(|transitions| transitions.due(1)).await;
    assert!(matches!(failed, Err(WriteError::Storage(StorageError::Internal(_)))));
}
