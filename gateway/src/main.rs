//! The gateway as a program of its own.

use std::process::ExitCode;

use chassis::program::Program;
use gateway::config::{Config, DEFAULTS};

#[global_allocator]
static ALLOCATOR: chassis::Allocator = chassis::Allocator;

fn main() -> ExitCode {
    let program =
        Program { name: "gateway", defaults: DEFAULTS, load: Config::load, listen: |config: &Config| config.listen };
    program.main(gateway::run)
}
