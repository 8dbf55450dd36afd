//! The command line: what may be said, and how a value is read. Typos get clap's suggestions.

mod data;
mod names;
mod operate;

use std::path::PathBuf;

use chassis::config::Address;
use clap::{Args, Parser, Subcommand};
use protocol::ids::{JobId, RetryId};
use protocol::key::{DataKey, QueueName, TaskName, UniqueKey};
use protocol::time::Timestamp;

use crate::chaos::arguments::{Chaos, EXIT_STATUSES as CHAOS_EXIT_STATUSES};
use crate::chaos::handler::Handler;
use crate::durations;
use crate::load::{self, arguments::Load};
use crate::operate::keys::{Audit, Keys};
use crate::operate::schedules::Schedules;
use crate::operate::tenants::Tenants;
use crate::operate::webhooks::Webhooks;

pub(crate) use data::{Data, DataDelete, DataGet, DataPut, DataWrite, Inspect, Invalidate};
pub(crate) use names::{ErrorKindName, PriorityName, StatusName, UnsuccessfulName};
pub(crate) use operate::{BackendAction, Backends, Completions, Doctor, Program, Top};

const EXIT_STATUSES: &str = "Exit status: 0 the job succeeded, 1 it failed, 3 it was cancelled, 64 a wrong argument, \
                             65 refused, 69 Longshore is not there.";

const INTERVAL_MS_MIN: u64 = 200;
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
    /// Submit many jobs from a file and print their ids
    Batch(Batch),
    /// Show a job as it is
    Show(Show),
    /// Print the result of a job that succeeded
    Result(OneJob),
    /// Print the payload that a job was submitted with
    Payload(OneJob),
    /// Say why a job does not run
    Explain(JobAnswer),
    /// List jobs, newest first
    Jobs(Jobs),
    /// Print what the last attempts of a job wrote to stdout and stderr
    Logs(JobAnswer),
    /// Cancel a job
    Cancel(JobAnswer),
    /// Drop a job that has ended, with all that belongs to it
    Purge(OneJob),
    /// Open the next run of a job that failed or was cancelled, or of many of them by filter
    Retry(Box<Retry>),
    /// List the retries of many jobs that run and the last ones that have ended, or stop one
    Retries(Retries),
    /// Jobs that are made again and again: list, show, put, delete, pause, resume or run schedules
    Schedules(Schedules),
    /// Who is told that a job has ended: list, show, put, delete, disable, enable or rotate webhooks, and what became of events
    Webhooks(Webhooks),
    /// API keys: list, create, rotate or revoke them
    Keys(Keys),
    /// What operators did, newest first
    Audit(Audit),
    /// Show whose jobs there are, and set what each tenant may have
    Tenants(Tenants),
    /// What each queue holds, and what came and went within the last minute
    Queues(List),
    /// Begin nothing new from a queue; what runs goes on, and jobs are still accepted
    Pause(OneQueue),
    /// Go on with a paused queue
    Resume(OneQueue),
    /// The workers that are there now
    Workers(List),
    /// The gateways as the balancer sees them; add, weigh and remove them
    Backends(Backends),
    /// Everything at a glance, again and again
    Top(Top),
    /// Read, write and delete hot data
    #[command(subcommand)]
    Data(Data),
    /// Make sure that nobody reads an older value of these keys, or of those with a tag or prefix, any more
    Invalidate(Invalidate),
    /// What each gateway would answer for a data key, and what the shared cache holds
    Inspect(Inspect),
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
    /// Look for what is wrong with this machine and this set-up, and say what to do about it
    #[command(after_help = "Exit status: 0 no fault, 1 a fault.")]
    Doctor(Doctor),
    /// Print what makes a shell complete commands and options
    Completions(Completions),
}

/// Where the service is.
#[derive(Debug, Args)]
pub(crate) struct Service {
    #[arg(long, value_name = "URL", help = "Where Longshore is [default: LONGSHORE_URL, else http://127.0.0.1:8000]")]
    pub(crate) url: Option<String>,
    #[arg(
        long,
        value_name = "FILE",
        help = "A file with the API key, where one is needed [default: LONGSHORE_API_KEY_FILE, else LONGSHORE_API_KEY]"
    )]
    pub(crate) api_key_file: Option<PathBuf>,
}

/// How a list is shown.
#[derive(Debug, Args)]
pub(crate) struct Shown {
    /// Print the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show it again and again, every 2 s or so often (--watch=10s), until Ctrl-C
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "2s",
          value_parser = interval)]
    pub(crate) watch: Option<u64>,
}

/// A list without filters.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) service: Service,
    #[command(flatten)]
    pub(crate) shown: Shown,
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
    /// Print the answer as JSON instead of the id
    #[arg(long, conflicts_with = "wait")]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Batch {
    #[command(flatten)]
    pub(crate) service: Service,
    /// What `POST /jobs:batch` takes: a JSON array of jobs, or a job in each line; - for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Print what became of each job, as JSON in a line of its own
    #[arg(long)]
    pub(crate) json: bool,
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
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Which job: the id that `longshore submit` printed
    #[arg(value_name = "JOB_ID")]
    pub(crate) job_id: JobId,
    /// Print it as JSON; with --watch, a line for each change
    #[arg(long)]
    pub(crate) json: bool,
    /// Show it again at each change, until it has ended
    #[arg(long)]
    pub(crate) watch: bool,
}

/// Something of one job, in words or as JSON.
#[derive(Debug, Args)]
pub(crate) struct JobAnswer {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Which job: the id that `longshore submit` printed
    #[arg(value_name = "JOB_ID")]
    pub(crate) job_id: JobId,
    /// Print the answer as JSON
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
    #[command(flatten)]
    pub(crate) shown: Shown,
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
    /// Print the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Retries {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Stop this one; what it has retried stays retried
    #[arg(long, value_name = "RETRY_ID", conflicts_with = "watch")]
    pub(crate) stop: Option<RetryId>,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

#[derive(Debug, Args)]
pub(crate) struct OneQueue {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Its name
    #[arg(value_parser = name::<QueueName>)]
    pub(crate) queue: QueueName,
    /// Print the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
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

pub(crate) fn name<T: for<'a> TryFrom<&'a str, Error = protocol::key::NameError>>(text: &str) -> Result<T, String> {
    T::try_from(text).map_err(|error| format!("it {error}"))
}

/// Of `--watch`, in ms. More often nobody can look.
fn interval(text: &str) -> Result<u64, String> {
    let ms = durations::parse_ms(text)?;
    if ms < INTERVAL_MS_MIN { Err(format!("must be at least {INTERVAL_MS_MIN}ms")) } else { Ok(ms) }
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
        check("longshore webhooks put billing https://a/ --event job.begun", "job.succeeded");
        check("longshore webhooks resend billing", "<DELIVERY>");
        check("longshore retry --task noop", "--status");
        check("longshore retry --status succeeded", "possible values: failed, cancelled");
        check("longshore retry 01890000-0000-7000-8000-000000000001 --status failed", "cannot be used with");
        check("longshore jobs --watch=10ms", "at least 200ms");
        check("longshore jobs --watch=soon", "a number with a unit");
        check("longshore batch", "<FILE>");
        check("longshore data put k", "<VALUE>");
        check("longshore data gett k", "'get'");
        check("longshore invalidate", "KEY");
        check("longshore invalidate k --all", "cannot be used with");
        check("longshore backends set 127.0.0.1:1", "<WEIGHT>");
        check("longshore completions tcsh", "possible values: bash");
        check("longshore doctor --program gatway", "'gateway'");
        check("longshore up --gateways 0", "'--gateways <N>': 0 is not in 1..=64");
    }

    #[test]
    fn no_command_means_up() {
        assert!(Arguments::try_parse_from(["longshore"]).expect("accepted").command.is_none());
    }
}
