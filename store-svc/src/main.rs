//! The store as a program of its own.

use std::process::ExitCode;

use chassis::program::Program;
use store_svc::{Config, DEFAULTS};

#[global_allocator]
static ALLOCATOR: chassis::Allocator = chassis::Allocator;

fn main() -> ExitCode {
    let program =
        Program { name: "store-svc", defaults: DEFAULTS, load: Config::load, listen: |config: &Config| config.listen };
    program.main(store_svc::run)
}
