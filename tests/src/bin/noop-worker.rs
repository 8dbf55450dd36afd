//! A worker with one handler written in Rust that does nothing: what is left is the system's own cost. For `bench jobs`.

use std::process::ExitCode;

use chassis::program::Program;
use worker::config::{Config, DEFAULTS};
use worker::{Failure, JobContext, Registry};

async fn noop(_job: JobContext) -> Result<(), Failure> {
    Ok(())
}

#[global_allocator]
static ALLOCATOR: chassis::Allocator = chassis::Allocator;

fn main() -> ExitCode {
    let name = "noop-worker";
    let program = Program { name, defaults: DEFAULTS, load: Config::load, listen: |config: &Config| config.listen };
    program.main(async |listener, config, shutdown| {
        worker::run_with(listener, config, Registry::new().handler("noop", noop)?, shutdown).await
    })
}
