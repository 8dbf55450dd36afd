//! `longshore completions`: what a shell reads to complete commands and options.

use std::process::ExitCode;

use clap::{Command, CommandFactory};

use crate::arguments::{Arguments, Completions};
use crate::output;

const NAME: &str = "longshore";

pub(crate) fn run(arguments: &Completions) -> anyhow::Result<ExitCode> {
    let whole = Arguments::command();
    // What help does not show is nobody's to complete.
    let shown: Vec<Command> = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Command::new(NAME).subcommands(shown), NAME, &mut script);
    output::bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}
