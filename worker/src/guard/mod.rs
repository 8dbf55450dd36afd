//! A small process beside the worker that ends the programs it started when the worker cannot: it was killed, or it was stopped past
//! the lease. Otherwise such a program would run on beside its successor.

mod book;
mod launch;
mod link;
mod strays;
mod watch;

use std::ffi::OsStr;
use std::process::ExitCode;

pub(crate) use launch::{GO, NOT_STARTED, command};
pub use link::Guard;

/// The one argument of a program that should be a guard.
pub const ARGUMENT: &str = "guard";
/// The first argument of a program that should become the program named by the next one, when it is told to.
pub const LAUNCH_ARGUMENT: &str = "guard-launch";

/// Whether this process was started to be a guard, or the start of a program that one watches over. A `main` asks before anything else,
/// and answers with [`serve`].
#[must_use]
pub fn is_asked() -> bool {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(first) if first == OsStr::new(ARGUMENT) => arguments.next().is_none(),
        Some(first) => first == OsStr::new(LAUNCH_ARGUMENT),
        None => false,
    }
}

/// Is a guard until standard input ends, which is when the worker has ended, however it did; or becomes the program that it launches.
#[must_use]
pub fn serve() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() == Some(OsStr::new(LAUNCH_ARGUMENT)) {
        return launch::launch(arguments);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(watch::watch())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
