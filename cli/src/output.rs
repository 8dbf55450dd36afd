//! What the program says: results on standard output, everything else on standard error.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use chassis::config;

/// A wrong command line, like a wrong setting.
const USAGE: u8 = 64;

/// Writes one line of result.
///
/// # Errors
/// When nobody reads any more, or the disk is full.
pub(crate) fn line(text: impl AsRef<str>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_ref().as_bytes())?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// Writes one line beside the result, for people. Nobody reads it: nothing is lost.
pub(crate) fn note(text: impl AsRef<str>) {
    writeln!(io::stderr().lock(), "{}", text.as_ref()).unwrap_or_default();
}

/// The end of a program whose command line was not understood, or was a question about it.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    error.print().unwrap_or_default();
    if error.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS }
}

/// The end of a program that could not do what it was asked.
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    let pipe = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    if pipe.into_iter().any(|cause| cause.kind() == ErrorKind::BrokenPipe) {
        // `longshore jobs | head`: the reader has what it wanted.
        return ExitCode::SUCCESS;
    }
    note(format!("longshore: {error:#}"));
    config::exit_code(error)
}
