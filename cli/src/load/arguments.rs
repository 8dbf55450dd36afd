//! What `longshore load` may be told.

use std::path::PathBuf;
use std::time::Duration;

use chassis::config::Address;
use clap::Args;
use protocol::key::{QueueName, TaskName};

use super::mix::Mix;
use super::stages::{self, Stages};
use crate::arguments::{Service, name};
use crate::durations;

pub(crate) const EXIT_STATUSES: &str = "Rates are requests per second. Each request is due at its instant, whether or not those before it were answered, and its\n\
     latency counts from that instant. Ctrl-C ends early, with the report.\n\n\
     Exit status: 0 the rate was held, 1 an accepted job was lost, 3 the rate was not held, or the generator itself was too\n\
     slow, 64 a wrong argument, 65 refused, 69 Longshore is not there.";

#[derive(Debug, Args)]
pub(crate) struct Load {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Requests per second: 200/s, 0.5/s, or 600/m [default: 50/s]
    #[arg(long, value_name = "RATE", value_parser = stages::parse_rate, conflicts_with = "stages")]
    pub(crate) rate: Option<f64>,
    /// How long, such as 30s or 5m [default: 30s]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, conflicts_with = "stages")]
    pub(crate) length: Option<Duration>,
    /// Instead: a rate that changes, such as 'ramp 0..200/30s, hold 200/1m, spike 1000/5s'
    #[arg(long, value_parser = parse::<Stages>)]
    pub(crate) stages: Option<Stages>,
    /// Kinds of requests and their shares
    #[arg(long, value_parser = parse::<Mix>, default_value = "submit=50,wait=10,read=30,write=5,invalidate=5")]
    pub(crate) mix: Mix,
    /// The task of the submitted jobs
    #[arg(long, value_parser = name::<TaskName>, default_value = "noop")]
    pub(crate) task: TaskName,
    /// The queue of the submitted jobs [default: `default`]
    #[arg(long, value_parser = name::<QueueName>)]
    pub(crate) queue: Option<QueueName>,
    /// What each job is given [default: --bytes of text]
    #[arg(long, value_name = "JSON")]
    pub(crate) payload: Option<String>,
    /// Size of a job's payload and of a written value
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=900_000))]
    pub(crate) bytes: u32,
    /// Data keys that reads, writes and invalidations are spread over: load-0, load-1, …
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) keys: u16,
    /// Requests without an answer at a time; a further one waits in the backlog
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) max_in_flight: u16,
    /// Requests that may wait for a place in flight; further ones are not sent, and the report says so
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    pub(crate) max_backlog: u32,
    /// How long an answer may take once the request is sent
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    pub(crate) timeout: Duration,
    /// How long to wait, after the last request, for answers, and then for jobs to end
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1m")]
    pub(crate) drain: Duration,
    /// Draws the kinds and keys of the requests; the same seed gives the same ones
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Whose CPU and memory to watch: addresses separated by commas, or `none` [default: the usual ports of this machine if
    /// --url is the usual one, else what answers at --url]
    #[arg(long, value_name = "ADDRESSES", value_parser = programs)]
    pub(crate) programs: Option<Programs>,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the report as a web page, with plots
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// Addresses to watch; none if so wished.
#[derive(Clone, Debug)]
pub(crate) struct Programs(pub(crate) Vec<Address>);

fn programs(text: &str) -> Result<Programs, String> {
    if text == "none" {
        return Ok(Programs(Vec::new()));
    }
    let addresses = text.split(',').map(|part| part.trim().parse()).collect::<Result<Vec<Address>, _>>();
    addresses.map(Programs).map_err(|accepted| format!("must be {accepted}, or `none`"))
}

fn duration(text: &str) -> Result<Duration, String> {
    match durations::parse_ms(text)? {
        0 => Err("must be above zero".to_owned()),
        ms => Ok(Duration::from_millis(ms)),
    }
}

fn parse<T: std::str::FromStr<Err = String>>(text: &str) -> Result<T, String> {
    text.parse()
}
