//! What only a database server can get wrong: several stores at once, lost connections, other histories.

use std::sync::Arc;

use chassis::testing::postgres::ScratchCluster;
use protocol::api::JobView;
use protocol::ids::{ClaimId, Dispatch, JobId, Position, SessionId};
use protocol::store_api::{Claim, Command, Create};
use protocol::tenant::Tenant;
use store_svc::storage::postgres::Postgres;
use store_svc::storage::{Context, JobRead, Settings, Signals, Storage, StorageError, Transitions, Work};

use crate::conformance::{BEGIN_MS, create, heartbeat};

mod faults;
mod following;
mod histories;
mod importing;
mod proxy;
mod several;

/// A transaction as the writer makes it.
fn transact(storage: &mut Postgres, work: Work<'_>) -> Result<Signals, StorageError> {
    let settings = Settings {
        window: Some(4),
        queues: ["default".to_owned()].into(),
        sequencer_lease_ms: 5_000,
        ..Settings::default()
    };
    let context = Context { wall_ms: BEGIN_MS, now_ms: 0, seed: 7, settings: Arc::new(settings) };
    storage.transact(&context, work)
}

fn try_apply(storage: &mut Postgres, commands: &[Command]) -> Result<Signals, StorageError> {
    transact(storage, &mut |transitions: &mut dyn Transitions| {
        let anybody = Tenant::default();
        let all: Vec<(&Tenant, &Command)> = commands.iter().map(|command| (&anybody, command)).collect();
        transitions.foresee(&all)?;
        commands.iter().try_for_each(|command| transitions.apply(&anybody, command).map(drop))
    })
}

fn job(task: &str) -> (JobId, Command) {
    let create: Create = create(task);
    (create.job_id, Command::Create(Box::new(create)))
}

fn try_create(storage: &mut Postgres) -> Result<(JobId, Position), StorageError> {
    let (job_id, command) = job("a");
    try_apply(storage, &[command]).map(|signals| (job_id, signals.head))
}

/// A job that runs, under its first fence.
fn claimed(storage: &mut Postgres) -> JobId {
    let session = SessionId::generate();
    try_apply(storage, &[Command::Heartbeat(heartbeat(session, &["a"]))]).expect("registered");
    let (job_id, _) = try_create(storage).expect("created");
    let claim = Claim {
        session,
        job_id,
        dispatch: Dispatch(1),
        claim_id: ClaimId::generate(),
        lease_ms: 15_000,
        or_except: None,
    };
    try_apply(storage, &[Command::Claim(claim)]).expect("claimed");
    job_id
}

fn seen(storage: &dyn Storage, job_id: JobId) -> Result<Option<JobView>, StorageError> {
    Ok(match storage.reader()?.job(&Tenant::default(), job_id)?.read {
        JobRead::Job(view, _) => Some(*view),
        JobRead::Unknown | JobRead::Expired => None,
    })
}

fn exists(storage: &Postgres, job_id: JobId) -> Result<bool, StorageError> {
    Ok(seen(storage, job_id)?.is_some())
}

/// One that a test may stop and kill.
fn own_cluster() -> ScratchCluster {
    ScratchCluster::start().expect("a cluster")
}
