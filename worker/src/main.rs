//! The worker as a program: runs the tasks of a task file.

use std::process::ExitCode;

use chassis::program::Program;
use worker::config::{Config, DEFAULTS};

fn main() -> ExitCode {
    let program =
        Program { name: "worker", defaults: DEFAULTS, load: Config::load, listen: |config: &Config| config.listen };
    program.main(worker::run)
}
