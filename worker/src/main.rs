//! The worker as a program: runs the tasks of a task file.

use std::process::ExitCode;

use chassis::program::Program;
use worker::config::{Config, DEFAULTS};
use worker::guard;

#[global_allocator]
static ALLOCATOR: chassis::Allocator = chassis::Allocator;

fn main() -> ExitCode {
    if guard::is_asked() {
        return guard::serve();
    }
    let program = Program {
        name: "worker",
        defaults: DEFAULTS,
        load: |source| Config::load(source).map(Config::guarded),
        listen: |config: &Config| config.listen,
    };
    program.main(worker::run)
}
