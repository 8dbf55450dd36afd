//! The shared cache and sequencer as a program of its own.

use std::process::ExitCode;

use cache_svc::{Config, DEFAULTS};
use chassis::program::Program;

#[global_allocator]
static ALLOCATOR: chassis::Allocator = chassis::Allocator;

fn main() -> ExitCode {
    let program =
        Program { name: "cache-svc", defaults: DEFAULTS, load: Config::load, listen: |config: &Config| config.listen };
    program.main(cache_svc::run)
}
