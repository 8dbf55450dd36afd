//! The two ways into the writer: what is under way goes before new jobs.
//!
//! Submits come as fast as clients like, in batches from every gateway; claims and outcomes come one per slot. In one queue a flood of
//! submits would make each claim and each outcome wait behind hundreds of them, and the jobs that were accepted would stand still.

use protocol::store_api::Command;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use super::request::Request;

/// Requests that may wait in each lane; one more is answered 503.
pub(super) const WAITING_MAX: usize = 1_024;
/// Commands in one transaction, beyond which no further request joins it. Whoever comes next waits for so many at most.
const BATCH_COMMANDS: usize = 512;
/// New jobs get the other half, whatever is under way.
const UNDER_WAY_COMMANDS: usize = BATCH_COMMANDS / 2;

type Waiting = Box<dyn Request>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Claims, outcomes, heartbeats, cancels, data, steps of our own.
    UnderWay,
    NewJobs,
}

impl Lane {
    pub(super) fn of(commands: &[Command]) -> Self {
        let is_new = commands.iter().any(|command| matches!(command, Command::Create(_)));
        if is_new { Self::NewJobs } else { Self::UnderWay }
    }
}

/// Where requests go in.
#[derive(Clone, Debug)]
pub(super) struct Entrances {
    under_way: mpsc::Sender<Waiting>,
    new_jobs: mpsc::Sender<Waiting>,
}

impl Entrances {
    pub(super) fn of(&self, lane: Lane) -> &mpsc::Sender<Waiting> {
        match lane {
            Lane::UnderWay => &self.under_way,
            Lane::NewJobs => &self.new_jobs,
        }
    }
}

/// Where the writer takes them out.
pub(super) struct Lanes {
    under_way: mpsc::Receiver<Waiting>,
    new_jobs: mpsc::Receiver<Waiting>,
    /// It has no drivers; it waits for two channels at once.
    waiter: Runtime,
}

impl Lanes {
    /// # Errors
    /// When the system has no room for it.
    pub(super) fn open() -> std::io::Result<(Entrances, Self)> {
        let (under_way, takes_under_way) = mpsc::channel(WAITING_MAX);
        let (new_jobs, takes_new_jobs) = mpsc::channel(WAITING_MAX);
        let waiter = Builder::new_current_thread().build()?;
        let lanes = Self { under_way: takes_under_way, new_jobs: takes_new_jobs, waiter };
        Ok((Entrances { under_way, new_jobs }, lanes))
    }

    /// Waits for a request; `None`: all entrances are gone.
    pub(super) fn wait(&mut self) -> Option<Waiting> {
        let (under_way, new_jobs) = (&mut self.under_way, &mut self.new_jobs);
        self.waiter.block_on(async {
            tokio::select! {
                biased;
                Some(request) = under_way.recv() => Some(request),
                Some(request) = new_jobs.recv() => Some(request),
                else => None,
            }
        })
    }

    /// Whether nothing waits and nothing can come.
    pub(super) fn are_closed(&self) -> bool {
        [&self.under_way, &self.new_jobs].iter().all(|lane| lane.is_closed() && lane.is_empty())
    }

    /// The next request of the transaction that holds so many commands already, if one waits and there is room for it.
    pub(super) fn next(&mut self, commands: usize) -> Option<Waiting> {
        let urgent = if commands < UNDER_WAY_COMMANDS { self.under_way.try_recv().ok() } else { None };
        if urgent.is_some() || commands >= BATCH_COMMANDS {
            return urgent;
        }
        self.new_jobs.try_recv().or_else(|_| self.under_way.try_recv()).ok()
    }
}
