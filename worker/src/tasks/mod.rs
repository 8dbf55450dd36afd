//! Tasks that need no Rust: a program of the operator's (`command`), a service of theirs (`http`) and made-up work (`simulate`), named in a TOML file.

use protocol::key::TaskPattern;

mod around;
mod capture;
mod command;
mod file;
mod http;
mod http_file;
mod progress_lines;
mod reader;
mod simulate;

pub use self::http::HttpTask;
pub use around::Around;
pub use command::CommandTask;
pub use file::{TaskFileError, load, parse};
pub use protocol::lease_api::LEASE_MS;
pub use simulate::SimulateTask;

/// What holds for every kind of task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskSettings {
    /// How long the store leaves the job to a silent worker. A dead worker's job runs elsewhere after this; a store outage
    /// longer than this stops the handler.
    pub lease_ms: u64,
    /// The longest that an attempt may take, unless the job says otherwise.
    pub timeout_ms: u64,
    /// Between asking a handler to stop and ending it.
    pub grace_ms: u64,
}

impl Default for TaskSettings {
    fn default() -> Self {
        Self { lease_ms: 15_000, timeout_ms: 24 * 3_600_000, grace_ms: 2_000 }
    }
}

/// One `[task.NAME]` of a task file.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskDefinition {
    pub pattern: TaskPattern,
    pub settings: TaskSettings,
    pub kind: TaskKind,
}

/// What a task does.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskKind {
    Command(CommandTask),
    Http(Box<HttpTask>),
    Simulate(SimulateTask),
}

/// The tasks of a worker that was given no file: enough for a first request to do something.
#[must_use]
pub fn built_in() -> Vec<TaskDefinition> {
    let text = include_str!("built_in.toml");
    parse("built-in tasks", text, &Around::default()).expect("the built-in tasks are valid: a test parses them")
}
