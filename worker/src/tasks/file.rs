//! The task file: what each task of this worker does. Read and checked as a whole before anything is started.

use std::path::{Path, PathBuf};

use protocol::api::RESULT_BYTES_MAX;
use protocol::key::TaskPattern;
use thiserror::Error;
use toml::de::{DeTable, DeValue};

use super::around::Around;
use super::command::CommandTask;
use super::http_file;
use super::reader::{Source, TaskTable};
use super::simulate::SimulateTask;
use super::{LEASE_MS, TaskDefinition, TaskKind, TaskSettings};

/// A task file is written by people; a larger one is a mistake.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Longest times that a task may set, in ms: a week for what a job takes, a day for a wait that somebody looks at.
const WEEK_MS: u64 = 7 * 24 * 3_600_000;
const DAY_MS: u64 = 24 * 3_600_000;

const KINDS: &str = "\"command\", \"http\" or \"simulate\"";
const SHARED_KEYS: [&str; 4] = ["kind", "lease_ms", "timeout_ms", "grace_ms"];
const COMMAND_KEYS: [&str; 6] = ["program", "args", "env", "directory", "stdout_bytes", "stderr_bytes"];
const SIMULATE_KEYS: [&str; 4] = ["duration_ms", "jitter_ms", "steps", "failure_rate"];

/// What is wrong with a task file, where, and what would be right.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{origin}{}: {detail}", line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct TaskFileError {
    pub origin: String,
    /// Counted from 1; absent when the file could not be read at all.
    pub line: Option<usize>,
    pub detail: String,
}

/// Reads the operator's task file. Relative paths in it are relative to its own folder; `variables` may hold secrets.
pub fn load(path: &Path, variables: &chassis::config::Source) -> Result<Vec<TaskDefinition>, TaskFileError> {
    let origin = path.display().to_string();
    let unreadable = |reason: String| TaskFileError { origin: origin.clone(), line: None, detail: reason };
    let absolute = std::path::absolute(path).map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    let bytes = std::fs::metadata(&absolute).map_err(|error| unreadable(format!("cannot be read: {error}")))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(unreadable(format!("has {bytes} bytes, at most {FILE_BYTES_MAX} are accepted")));
    }
    let text = std::fs::read_to_string(&absolute).map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    let folder = absolute.parent().map(Path::to_path_buf).unwrap_or_default();
    parse(&origin, &text, &Around { folder, variables: variables.clone() })
}

/// Parses the text of a task file; `origin` is how errors name it.
pub fn parse(origin: &str, text: &str, around: &Around) -> Result<Vec<TaskDefinition>, TaskFileError> {
    let source = Source { origin, text };
    let document = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        source.error(offset, format!("not TOML: {}", error.message()))
    })?;
    let mut definitions = Vec::new();
    for (key, value) in document.get_ref() {
        if key.get_ref() != "task" {
            let detail = format!("`{}` is not accepted here; a task is written `[task.NAME]`", key.get_ref());
            return Err(source.error(key.span().start, detail));
        }
        let DeValue::Table(tasks) = value.get_ref() else {
            let detail = "`task` must hold tables, one per task: `[task.NAME]`".to_owned();
            return Err(source.error(value.span().start, detail));
        };
        for (name, value) in tasks {
            let DeValue::Table(table) = value.get_ref() else {
                let detail = format!("task `{0}` must be a table: `[task.{0}]`", name.get_ref());
                return Err(source.error(value.span().start, detail));
            };
            let offset = name.span().start;
            definitions.push(definition(&TaskTable { source, task: name.get_ref(), offset, table }, around)?);
        }
    }
    if definitions.is_empty() {
        return Err(source.error(0, "names no task; a task is written `[task.NAME]`".to_owned()));
    }
    Ok(definitions)
}

fn definition(table: &TaskTable<'_>, around: &Around) -> Result<TaskDefinition, TaskFileError> {
    let pattern = TaskPattern::try_from(table.task.to_owned()).map_err(|error| {
        let accepted = "accepted: a name, or a prefix with `*` at its end, in quotes: [task.\"report_*\"]";
        table.source.error(table.offset, format!("task name `{}` {error}; {accepted}", table.task))
    })?;
    let kind = match table.required_text("kind", KINDS)? {
        "command" => {
            table.accept_only("command", &[&SHARED_KEYS[..], &COMMAND_KEYS[..]].concat())?;
            TaskKind::Command(command(table, around)?)
        }
        "http" => {
            table.accept_only("http", &[&SHARED_KEYS[..], &http_file::KEYS[..]].concat())?;
            TaskKind::Http(Box::new(http_file::http(table, around)?))
        }
        "simulate" => {
            table.accept_only("simulate", &[&SHARED_KEYS[..], &SIMULATE_KEYS[..]].concat())?;
            TaskKind::Simulate(simulate(table)?)
        }
        other => return Err(table.error("kind", &format!("is \"{other}\"; accepted: {KINDS}"))),
    };
    Ok(TaskDefinition { pattern, settings: settings(table)?, kind })
}

fn settings(table: &TaskTable<'_>) -> Result<TaskSettings, TaskFileError> {
    let default = TaskSettings::default();
    Ok(TaskSettings {
        lease_ms: table.integer("lease_ms", LEASE_MS, default.lease_ms)?,
        timeout_ms: table.integer("timeout_ms", 1..=WEEK_MS, default.timeout_ms)?,
        grace_ms: table.integer("grace_ms", 0..=60_000, default.grace_ms)?,
    })
}

fn command(table: &TaskTable<'_>, around: &Around) -> Result<CommandTask, TaskFileError> {
    let program = table.required_text("program", "the path of a program, or a name found in PATH")?;
    let directory = table.text("directory")?.unwrap_or(".");
    let env = table.text_map("env")?;
    let odd = |text: &str| text.contains('\0');
    if let Some(name) =
        env.iter().find(|(name, value)| name.is_empty() || name.contains('=') || odd(name) || odd(value))
    {
        return Err(
            table.error("env", &format!("has the variable `{}`, which no program can be given", name.0.escape_debug()))
        );
    }
    let folder = &around.folder;
    Ok(CommandTask {
        program: if program.contains('/') { folder.join(program) } else { PathBuf::from(program) },
        args: table.texts("args")?,
        env,
        directory: folder.join(directory),
        stdout_bytes: bound(table, "stdout_bytes", 1..=RESULT_BYTES_MAX as u64, CommandTask::STDOUT_BYTES)?,
        stderr_bytes: bound(table, "stderr_bytes", 0..=65_536, CommandTask::STDERR_BYTES)?,
        withheld: around.secret_names(),
    })
}

fn simulate(table: &TaskTable<'_>) -> Result<SimulateTask, TaskFileError> {
    let steps = table.integer("steps", 0..=10_000, 0)?;
    Ok(SimulateTask {
        duration_ms: table.integer("duration_ms", 0..=DAY_MS, 0)?,
        jitter_ms: table.integer("jitter_ms", 0..=DAY_MS, 0)?,
        steps: u32::try_from(steps).expect("at most 10,000"),
        failure_rate: table.share("failure_rate", 0.0)?,
    })
}

pub(super) fn bound(
    table: &TaskTable<'_>,
    key: &str,
    range: std::ops::RangeInclusive<u64>,
    default: usize,
) -> Result<usize, TaskFileError> {
    let bytes = table.integer(key, range, default as u64)?;
    Ok(usize::try_from(bytes).expect("bounds of the file format are below 2^32"))
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
