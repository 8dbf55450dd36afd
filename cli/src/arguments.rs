//! The command line: what may be said, and how a value is read. Typos get clap's suggestions.

use std::path::PathBuf;

use chassis::config::Address;
use clap::{Args, Parser, Subcommand, ValueEnum};
use protocol::api::{ErrorKind, Priority, Status};
use protocol::bulk_retry::Unsuccessful;
use protocol::ids::{JobId, RetryId};
use protocol::key::{DataKey, QueueName, TaskName, UniqueKey};
use protocol::time::Timestamp;

use crate::chaos::arguments::{Chaos, EXIT_STATUSES as CHAOS_EXIT_STATUSES};
use crate::chaos::handler::Handler;
use crate::durations;
use crate::load::{self, arguments::Load};
use crate::schedules::Schedules;

const EXIT_STATUSES: &str = "Exit status: 0 the job succeeded, 1 it failed, 3 it was cancelled, 64 a wrong argument, \
                             65 refused, 69 Longshore is not there.";

const GATEWAYS: &str = "Number of gateways, 1 to 64 [default: LONGSHORE_GATEWAYS, else 3]";
const DATA_DIR: &str =
    "Where the store keeps its data, unless DATABASE_URL says it [default: LONGSHORE_DATA_DIR, else ./var]";

/// Long work over HTTP: accepted once, run until it is done.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, after_help = "Without a command it does what `longshore up` does.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start everything in this process: balancer, gateways, store, cache, worker
    Up(Up),
    /// Submit a job and print its id
    #[command(after_help = EXIT_STATUSES)]
    Submit(Box<Submit>),
    /// Follow a job to its end and print its result
    #[command(after_help = EXIT_STATUSES)]
    Watch(Watch),
    /// Say why a job does not run
    Explain(Explain),
    /// List jobs, newest first
    Jobs(Jobs),
    /// Print what the last attempts of a job wrote to stdout and stderr
    Logs(OneJob),
    /// Cancel a job
    Cancel(OneJob),
    /// Open the next run of a job that failed or was cancelled, or of many of them by filter
    Retry(Box<Retry>),
    /// List the retries of many jobs that run and the last ones that have ended, or stop one
    Retries(Retries),
    /// Jobs that are made again and again: list, show, put, delete, pause, resume or run schedules
    Schedules(Schedules),
    /// What each queue holds, and what came and went within the last minute
    Queues(QueueList),
    /// Begin nothing new from a queue; what runs goes on, and jobs are still accepted
    Pause(OneQueue),
    /// Go on with a paused queue
    Resume(OneQueue),
    /// Make sure that nobody reads an older value of these keys any more
    Invalidate(Invalidate),
    /// Offer a fixed rate of requests, and say what became of them
    #[command(after_help = load::arguments::EXIT_STATUSES)]
    Load(Box<Load>),
    /// Break everything on purpose, and check that every promise holds
    #[command(after_help = CHAOS_EXIT_STATUSES)]
    Chaos(Chaos),
    #[command(hide = true)]
    ChaosHandler(Handler),
    /// Write a copy of the database into a new file; Longshore may run meanwhile
    Backup(Backup),
    /// Put a backup in the place of the database, while Longshore does not run
    Restore(Backup),
    /// Move everything from an SQLite file, whose store does not run, into the empty PostgreSQL database of `DATABASE_URL`
    Migrate(Migrate),
    /// Print RabbitMQ's definitions.json
    Definitions(Definitions),
    /// Ask a program whether it lives; for container checks
    Health(Health),
}

/// Where the service is.
#[derive(Debug, Args)]
pub(crate) struct Service {
    #[arg(long, value_name = "URL", help = "Where Longshore is [default: LONGSHORE_URL, else http://127.0.0.1:8000]")]
    pub(crate) url: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct Up {
    #[arg(long, value_name = "N", help = GATEWAYS, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) gateways: Option<u16>,
    #[arg(long, value_name = "FOLDER", help = DATA_DIR)]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Submit {
    #[command(flatten)]
    pub(crate) service: Service,
    /// What a worker is asked to do
    #[arg(value_parser = name::<TaskName>)]
    pub(crate) task: TaskName,
    /// What it is given: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON|@FILE|-")]
    pub(crate) payload: Option<String>,
    /// The queue that it waits in [default: `default`]
    #[arg(long, value_parser = name::<QueueName>)]
    pub(crate) queue: Option<QueueName>,
    /// Which of the waiting jobs of a queue is run first
    #[arg(long, value_enum, default_value = "normal")]
    pub(crate) priority: PriorityName,
    /// Run it after this time, such as 30s, 15m, 2h or 1d
    #[arg(long, value_name = "DURATION", value_parser = durations::parse_ms, conflicts_with = "run_at")]
    pub(crate) delay: Option<u64>,
    /// Run it at this instant, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) run_at: Option<Timestamp>,
    /// Failed attempts before it counts as failed
    #[arg(long, value_name = "N")]
    pub(crate) max_attempts: Option<u32>,
    /// How long one attempt may take, such as 500ms, 30s or 2h
    #[arg(long, value_name = "DURATION", value_parser = durations::parse_ms)]
    pub(crate) timeout: Option<u64>,
    /// Let it fail when it has not started so long after it was due, such as 15m
    #[arg(long, value_name = "DURATION", value_parser = durations::parse_ms)]
    pub(crate) start_deadline: Option<u64>,
    /// A data key that the job changes; may be given several times
    #[arg(long, value_name = "KEY", value_parser = name::<DataKey>)]
    pub(crate) invalidates: Vec<DataKey>,
    /// Names the job: submitted again with the same key, it is the same job
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Refuse it while another job with this key has not ended
    #[arg(long, value_name = "KEY", value_parser = name::<UniqueKey>)]
    pub(crate) unique_key: Option<UniqueKey>,
    /// Follow it to its end and print its result instead of its id
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Which job: the id that `longshore submit` printed
    #[arg(value_name = "JOB_ID")]
    pub(crate) job_id: JobId,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Which job: the id that `longshore submit` printed
    #[arg(value_name = "JOB_ID")]
    pub(crate) job_id: JobId,
    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Jobs {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Only jobs in this state
    #[arg(long, value_enum)]
    pub(crate) status: Option<StatusName>,
    /// Only jobs of this queue
    #[arg(long, value_parser = name::<QueueName>)]
    pub(crate) queue: Option<QueueName>,
    /// Only jobs of this task
    #[arg(long, value_parser = name::<TaskName>)]
    pub(crate) task: Option<TaskName>,
    /// Most jobs to list
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(crate) limit: u16,
    /// Go on after a former page: what it gave as next cursor
    #[arg(long)]
    pub(crate) cursor: Option<String>,
    /// Print the page as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OneJob {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Which job: the id that `longshore submit` printed
    #[arg(value_name = "JOB_ID")]
    pub(crate) job_id: JobId,
}

#[derive(Debug, Args)]
pub(crate) struct Retry {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Which job: the id that `longshore submit` printed
    #[arg(value_name = "JOB_ID", required_unless_present = "status", conflicts_with = "status")]
    pub(crate) job_id: Option<JobId>,
    /// All jobs that ended like that
    #[arg(long, value_enum)]
    pub(crate) status: Option<UnsuccessfulName>,
    /// Only jobs of this queue
    #[arg(long, requires = "status", value_parser = name::<QueueName>)]
    pub(crate) queue: Option<QueueName>,
    /// Only jobs of this task
    #[arg(long, requires = "status", value_parser = name::<TaskName>)]
    pub(crate) task: Option<TaskName>,
    /// Only jobs with this kind of error
    #[arg(long, requires = "status", value_enum)]
    pub(crate) error_kind: Option<ErrorKindName>,
    /// Only jobs that ended at this instant or later, such as 2026-01-31T12:00:00Z
    #[arg(long, requires = "status", value_name = "TIME")]
    pub(crate) after: Option<Timestamp>,
    /// Only jobs that ended before this instant
    #[arg(long, requires = "status", value_name = "TIME")]
    pub(crate) before: Option<Timestamp>,
    /// Retry so many jobs per second [default: 100]
    #[arg(long, requires = "status", value_name = "N")]
    pub(crate) rate: Option<u32>,
    /// Retry at most so many jobs, the oldest ones
    #[arg(long, requires = "status", value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Only say which jobs these are
    #[arg(long, requires = "status")]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Retries {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Stop this one; what it has retried stays retried
    #[arg(long, value_name = "RETRY_ID")]
    pub(crate) stop: Option<RetryId>,
    /// Print them as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct QueueList {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Print them as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OneQueue {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Its name
    #[arg(value_parser = name::<QueueName>)]
    pub(crate) queue: QueueName,
}

#[derive(Debug, Args)]
pub(crate) struct Invalidate {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Data keys
    #[arg(value_name = "KEY", required = true, value_parser = name::<DataKey>)]
    pub(crate) keys: Vec<DataKey>,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The backup
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[arg(long, value_name = "FOLDER", help = DATA_DIR)]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// The SQLite file; it stays as it is
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Definitions {
    /// The job queues, comma-separated
    #[arg(long, value_name = "NAMES", default_value = "default", value_delimiter = ',', value_parser = name::<QueueName>)]
    pub(crate) queues: Vec<QueueName>,
    /// For a real deployment: a random password for each user, listed on standard error
    #[arg(long)]
    pub(crate) random_passwords: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Health {
    /// The program's address
    #[arg(default_value = "127.0.0.1:8000", value_parser = address)]
    pub(crate) address: Address,
    /// Ask whether it should be sent work, instead of whether it lives
    #[arg(long)]
    pub(crate) ready: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PriorityName {
    High,
    Normal,
    Low,
}

impl From<PriorityName> for Priority {
    fn from(name: PriorityName) -> Self {
        match name {
            PriorityName::High => Self::High,
            PriorityName::Normal => Self::Normal,
            PriorityName::Low => Self::Low,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum StatusName {
    Scheduled,
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl From<StatusName> for Status {
    fn from(name: StatusName) -> Self {
        match name {
            StatusName::Scheduled => Self::Scheduled,
            StatusName::Queued => Self::Queued,
            StatusName::Running => Self::Running,
            StatusName::Succeeded => Self::Succeeded,
            StatusName::Failed => Self::Failed,
            StatusName::Cancelled => Self::Cancelled,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum UnsuccessfulName {
    Failed,
    Cancelled,
}

impl From<UnsuccessfulName> for Unsuccessful {
    fn from(name: UnsuccessfulName) -> Self {
        match name {
            UnsuccessfulName::Failed => Self::Failed,
            UnsuccessfulName::Cancelled => Self::Cancelled,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ErrorKindName {
    Failed,
    Timeout,
    Panic,
    Crashed,
    Deadline,
}

impl From<ErrorKindName> for ErrorKind {
    fn from(name: ErrorKindName) -> Self {
        match name {
            ErrorKindName::Failed => Self::Failed,
            ErrorKindName::Timeout => Self::Timeout,
            ErrorKindName::Panic => Self::Panic,
            ErrorKindName::Crashed => Self::Crashed,
            ErrorKindName::Deadline => Self::Deadline,
        }
    }
}

pub(crate) fn name<T: for<'a> TryFrom<&'a str, Error = protocol::key::NameError>>(text: &str) -> Result<T, String> {
    T::try_from(text).map_err(|error| format!("it {error}"))
}

fn address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|accepted| format!("must be {accepted}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn typos_are_told_with_what_was_meant() {
        let check = |line: &str, says: &str| {
            let error = Arguments::try_parse_from(line.split(' ')).expect_err("refused").to_string();
            assert!(error.contains(says), "{line}: {error}");
        };
        check("longshore sumbit noop", "submit");
        check("longshore submit noop --priorty high", "--priority");
        check("longshore submit noop --priority urgent", "possible values: high, normal, low");
        check("longshore submit noop --delay 10", "a number with a unit");
        check("longshore submit noop --delay 1s --run-at 2030-01-01T00:00:00Z", "cannot be used with");
        check("longshore submit a/b", "letters, digits");
        check("longshore watch 7", "invalid");
        check("longshore jobs --limit 0", "1..=500");
        check("longshore retry", "JOB_ID");
        check("longshore schedules put nightly noop", "--cron");
        check("longshore schedules put nightly noop --cron @dayly", "it is not one of @hourly");
        check("longshore schedules put nightly noop --cron @daily --time-zone Berlin", "such as Europe/Berlin");
        check("longshore schedules show a/b", "letters, digits");
        check("longshore retry --task noop", "--status");
        check("longshore retry --status succeeded", "possible values: failed, cancelled");
        check("longshore retry 01890000-0000-7000-8000-000000000001 --status failed", "cannot be used with");
        check("longshore up --gateways 0", "'--gateways <N>': 0 is not in 1..=64");
    }

    #[test]
    fn no_command_means_up() {
        assert!(Arguments::try_parse_from(["longshore"]).expect("accepted").command.is_none());
    }
}
