//! The `longshore` program: `up` runs everything in one process, the other commands talk to a running system.

mod arguments;
mod backup;
mod chaos;
mod client;
mod commands;
mod control;
mod definitions;
mod durations;
mod explain;
mod health;
mod jobs;
mod load;
mod logs;
mod output;
mod queues;
mod retry;
mod schedules;
mod submit;
mod up;
mod watch;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: chassis::Allocator = chassis::Allocator;

fn main() -> ExitCode {
    if worker::guard::is_asked() {
        return worker::guard::serve();
    }
    match arguments::Arguments::try_parse() {
        Ok(arguments) => commands::run(arguments).unwrap_or_else(|error| output::failed(&error)),
        Err(error) => output::usage(&error),
    }
}
