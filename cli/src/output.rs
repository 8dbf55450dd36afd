//! What the program says: results on standard output, everything else on standard error.

pub(crate) mod listing;
pub(crate) mod table;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use chassis::config;
use console::{Style, Term, truncate_str};
use protocol::api::Status;

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

/// Writes each as a line.
///
/// # Errors
/// As [`line()`].
pub(crate) fn lines(texts: impl IntoIterator<Item = impl AsRef<str>>) -> io::Result<()> {
    texts.into_iter().try_for_each(line)
}

/// Writes JSON as it came.
///
/// # Errors
/// As [`line()`].
pub(crate) fn json(body: &[u8]) -> io::Result<()> {
    line(String::from_utf8_lossy(body).trim_end())
}

/// Writes bytes as they are.
///
/// # Errors
/// As [`line()`].
pub(crate) fn bytes(body: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(body)?;
    stdout.flush()
}

/// Columns of the terminal; any number where there is none.
pub(crate) fn width() -> usize {
    let term = Term::stdout();
    if term.is_term() { usize::from(term.size().1) } else { usize::MAX }
}

/// A status as it is on the wire.
pub(crate) fn status_name(status: Status) -> &'static str {
    match status {
        Status::Scheduled => "scheduled",
        Status::Queued => "queued",
        Status::Running => "running",
        Status::Succeeded => "succeeded",
        Status::Failed => "failed",
        Status::Cancelled => "cancelled",
    }
}

/// The same in its colour, where there is a terminal that has some and `NO_COLOR` is not set.
pub(crate) fn status(status: Status) -> String {
    let style = match status {
        Status::Succeeded => Style::new().green(),
        Status::Failed => Style::new().red(),
        Status::Cancelled => Style::new().yellow(),
        Status::Running => Style::new().cyan(),
        Status::Scheduled | Status::Queued => Style::new(),
    };
    style.apply_to(status_name(status)).to_string()
}

/// Shows one page after the other: in the same place on a terminal, else one below the other.
#[derive(Debug)]
pub(crate) struct Screen {
    term: Term,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { term: Term::stdout() }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.term.is_term()
    }

    /// As much of it as fits.
    ///
    /// # Errors
    /// As [`line()`].
    pub(crate) fn draw(&self, title: &str, lines: &[String], notes: &[String]) -> io::Result<()> {
        if !self.term.is_term() {
            self::lines(lines)?;
            notes.iter().for_each(note);
            return line("");
        }
        let (height, width) = self.term.size();
        let (height, width) = (usize::from(height).saturating_sub(1).max(1), usize::from(width));
        let title = [Style::new().dim().apply_to(title).to_string(), String::new()];
        let all: Vec<&String> = title.iter().chain(lines).chain(notes).collect();
        self.term.clear_screen()?;
        for text in all.iter().take(height) {
            self.term.write_line(&truncate_str(text, width, "…"))?;
        }
        self.term.flush()
    }
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
