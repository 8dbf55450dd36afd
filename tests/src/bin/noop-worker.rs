//! A worker with handlers written in Rust that do next to nothing: what is left is the system's own cost. For `bench`.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use chassis::program::Program;
use worker::config::{Config, DEFAULTS};
use worker::{Failure, JobContext, Registry};

async fn noop(_job: JobContext) -> Result<(), Failure> {
    Ok(())
}

/// When it began, in microseconds of Unix time.
async fn stamp(_job: JobContext) -> Result<u64, Failure> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(u64::try_from(now.as_micros())?)
}

/// Keeps its slot busy for as long as its payload says.
async fn work(job: JobContext) -> Result<(), Failure> {
    let asked: serde_json::Value = job.payload()?;
    let duration_ms = asked["duration_ms"].as_u64().unwrap_or_default();
    tokio::time::sleep(Duration::from_millis(duration_ms)).await;
    Ok(())
}

#[global_allocator]
static ALLOCATOR: chassis::Allocator = chassis::Allocator;

fn main() -> ExitCode {
    let name = "noop-worker";
    let program = Program { name, defaults: DEFAULTS, load: Config::load, listen: |config: &Config| config.listen };
    program.main(async |listener, config, shutdown| {
        let registry = Registry::new().handler("noop", noop)?.handler("stamp", stamp)?.handler("work", work)?;
        worker::run_with(listener, config, registry, shutdown).await
    })
}
