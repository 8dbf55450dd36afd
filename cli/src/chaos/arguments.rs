//! What `longshore chaos` may be told.

use std::path::PathBuf;

use clap::Args;

pub(crate) const EXIT_STATUSES: &str = "It starts a RabbitMQ node of its own from the installed server, and every program, from beside this one, as a process of\n\
     its own; on loopback, in a temporary folder, and nothing of it stays. Jobs are submitted all the time. In the first part\n\
     faults come one at a time, and the time until everything works again is measured; then come storms of them. The seed\n\
     decides all of it. With --cache there are two cache-svc, one to take over from the other. Clocks are moved only where libfaketime is installed (package faketime).\n\n\
     Exit status: 0 every promise held, 1 one was broken, 64 a wrong argument, 69 the trial could not be held, 130 interrupted.";

#[derive(Debug, Args)]
pub(crate) struct Chaos {
    /// Hold the caches to their promises: much data, few jobs, and faults of what a read or an invalidation depends on
    #[arg(long)]
    pub(crate) cache: bool,
    /// Jobs to submit, evenly over the trial [with --cache: 200 if not given]
    #[arg(long, value_name = "N", default_value_t = 5_000, default_value_if("cache", "true", "200"), value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) jobs: u64,
    /// Decides what goes wrong and when [default: drawn, and shown]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// How long things go wrong; starting, draining and judging come on top
    #[arg(long, value_name = "N", default_value_t = 150, value_parser = clap::value_parser!(u64).range(10..=3_600))]
    pub(crate) seconds: u64,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write what happened, a JSON line for each request, answer, fault and sign of a handler
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
    /// Copy the logs of all programs here, and the database
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,
}
