//! The balancer as a program of its own.

use std::process::ExitCode;

use chassis::program::Program;
use lb::Config;

#[global_allocator]
static ALLOCATOR: chassis::Allocator = chassis::Allocator;

fn main() -> ExitCode {
    Program { name: "lb", defaults: lb::DEFAULTS, load: Config::load, listen: Config::listen }.main(lb::run)
}
