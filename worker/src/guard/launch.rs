//! The start of a program under a guard: a process of ours in the program's place, with its pipes and its process group, that becomes the
//! program when it is told to. So the guard knows the group before anything of the program runs: whenever the worker is stopped or killed,
//! no program begins under a lease that has ended.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::io::{Errno, read};

use super::LAUNCH_ARGUMENT;

/// What is written to the standard input before the payload when the program may begin.
pub(crate) const GO: u8 = b'\n';
/// The exit status of a start that did not become a program. Why is said on the program's progress descriptor.
pub(crate) const NOT_STARTED: u8 = 127;
const PROGRESS: &str = "/proc/self/fd/3";

/// The command that starts `program` with `args` by way of `launcher`.
pub(crate) fn command(launcher: &Path, program: &Path, args: &[String]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(launcher);
    command.arg(LAUNCH_ARGUMENT).arg(program).args(args);
    command
}

pub(super) fn launch(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(program) = arguments.next() else { return ExitCode::FAILURE };
    if !may_begin() {
        return ExitCode::FAILURE;
    }
    let error = become_program(&program, arguments);
    let line = format!("{{\"not_started\":{}}}\n", error.raw_os_error().unwrap_or_default());
    let told = File::options().write(true).open(PROGRESS).and_then(|mut progress| progress.write_all(line.as_bytes()));
    told.map_or(ExitCode::FAILURE, |()| NOT_STARTED.into())
}

/// Waits for the word. An end of the input instead: the worker has ended.
fn may_begin() -> bool {
    let mut word = [0];
    loop {
        match read(io::stdin(), &mut word) {
            Err(Errno::INTR) => {}
            read => return read == Ok(1) && word == [GO],
        }
    }
}

/// Returns only if that did not work.
fn become_program(program: &OsStr, arguments: impl Iterator<Item = OsString>) -> io::Error {
    Command::new(program).args(arguments).exec()
}
