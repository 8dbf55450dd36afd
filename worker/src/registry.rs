//! Which handler runs which task: by its name, else by the longest prefix that fits.

use std::collections::HashMap;
use std::sync::Arc;

use protocol::key::{NameError, TaskPattern};
use thiserror::Error;

use crate::handler::Handler;
use crate::tasks::{LEASE_MS, TaskDefinition, TaskKind, TaskSettings};

/// A handler cannot be registered.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RegistryError {
    #[error("task name {name:?} {reason}; accepted: a name, or a prefix with `*` at its end")]
    Name { name: String, reason: NameError },
    #[error("task `{0}` is registered twice")]
    Repeated(TaskPattern),
    #[error("task `{task}` has a lease of {lease_ms} ms; accepted: {} to {} ms", LEASE_MS.start(), LEASE_MS.end())]
    Lease { task: TaskPattern, lease_ms: u64 },
}

/// A handler with what holds for it.
#[derive(Clone)]
pub struct Registered {
    pub settings: TaskSettings,
    pub handler: Arc<dyn Handler>,
    /// Code that may block its thread or panic anywhere: it runs away from the threads that renew the leases.
    pub foreign: bool,
    /// It starts programs.
    pub command: bool,
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registered").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The tasks of a worker.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    exact: HashMap<String, Registered>,
    /// Longest first.
    prefixes: Vec<(String, Registered)>,
}

impl Registry {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a handler for the task `name`, or for all tasks whose name begins so, `resize_*`.
    pub fn handler(self, name: &str, handler: impl Handler) -> Result<Self, RegistryError> {
        self.handler_with(name, TaskSettings::default(), handler)
    }

    /// As [`Self::handler`], with another lease or timeout.
    pub fn handler_with(
        mut self,
        name: &str,
        settings: TaskSettings,
        handler: impl Handler,
    ) -> Result<Self, RegistryError> {
        let pattern = TaskPattern::try_from(name.to_owned())
            .map_err(|reason| RegistryError::Name { name: name.to_owned(), reason })?;
        self.insert(pattern, Registered { settings, handler: Arc::new(handler), foreign: true, command: false })?;
        Ok(self)
    }

    /// Adds the tasks of a task file.
    pub fn tasks(mut self, definitions: Vec<TaskDefinition>) -> Result<Self, RegistryError> {
        for TaskDefinition { pattern, settings, kind } in definitions {
            let (handler, command): (Arc<dyn Handler>, bool) = match kind {
                TaskKind::Command(command) => (Arc::new(command), true),
                TaskKind::Http(http) => (Arc::new(*http), false),
                TaskKind::Simulate(simulate) => (Arc::new(simulate), false),
            };
            self.insert(pattern, Registered { settings, handler, foreign: false, command })?;
        }
        Ok(self)
    }

    fn insert(&mut self, pattern: TaskPattern, registered: Registered) -> Result<(), RegistryError> {
        if self.patterns().contains(&pattern) {
            return Err(RegistryError::Repeated(pattern));
        }
        let lease_ms = registered.settings.lease_ms;
        if !LEASE_MS.contains(&lease_ms) {
            return Err(RegistryError::Lease { task: pattern, lease_ms });
        }
        match pattern {
            TaskPattern::Exact(name) => {
                self.exact.insert(name, registered);
            }
            TaskPattern::Prefix(prefix) => {
                let place = self.prefixes.partition_point(|(other, _)| other.len() >= prefix.len());
                self.prefixes.insert(place, (prefix, registered));
            }
        }
        Ok(())
    }

    #[must_use]
    pub fn find(&self, task: &str) -> Option<&Registered> {
        let by_prefix = || self.prefixes.iter().find(|(prefix, _)| task.starts_with(prefix.as_str()));
        self.exact.get(task).or_else(|| by_prefix().map(|(_, registered)| registered))
    }

    /// Those of the tasks that have another lease than this.
    #[must_use]
    pub fn with_other_lease(&self, lease_ms: u64) -> Vec<TaskPattern> {
        let has_other = |registered: &Registered| registered.settings.lease_ms != lease_ms;
        let exact = self.exact.iter().filter(|(_, registered)| has_other(registered));
        let prefixes = self.prefixes.iter().filter(|(_, registered)| has_other(registered));
        let exact = exact.map(|(name, _)| TaskPattern::Exact(name.clone()));
        exact.chain(prefixes.map(|(prefix, _)| TaskPattern::Prefix(prefix.clone()))).collect()
    }

    /// What this worker tells the store that it runs, sorted.
    #[must_use]
    pub fn patterns(&self) -> Vec<TaskPattern> {
        let exact = self.exact.keys().cloned().map(TaskPattern::Exact);
        let prefixes = self.prefixes.iter().map(|(prefix, _)| TaskPattern::Prefix(prefix.clone()));
        let mut patterns: Vec<_> = exact.chain(prefixes).collect();
        patterns.sort();
        patterns
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }

    /// Whether there are handlers written in Rust, which get threads of their own.
    #[must_use]
    pub fn has_foreign(&self) -> bool {
        self.all().any(|task| task.foreign)
    }

    /// Whether there are tasks that start programs.
    #[must_use]
    pub fn has_commands(&self) -> bool {
        self.all().any(|task| task.command)
    }

    fn all(&self) -> impl Iterator<Item = &Registered> {
        self.exact.values().chain(self.prefixes.iter().map(|(_, registered)| registered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::JobContext;

    fn registry(names: &[&str]) -> Result<Registry, RegistryError> {
        names.iter().zip(1_001..).try_fold(Registry::new(), |registry, (name, lease_ms)| {
            let settings = TaskSettings { lease_ms, ..TaskSettings::default() };
            registry.handler_with(name, settings, |_job: JobContext| async { Ok(()) })
        })
    }

    #[test]
    fn exact_name_wins_then_the_longest_prefix() {
        let registry = registry(&["report_*", "report_daily", "*", "report_daily_*"]).expect("valid names");
        let check = |task: &str, expected: u64| {
            assert_eq!(registry.find(task).map(|found| found.settings.lease_ms), Some(1_000 + expected), "{task}");
        };
        check("report_1", 1);
        check("report_daily", 2);
        check("report_daily_eu", 4);
        check("other", 3);
    }

    #[test]
    fn names_are_checked_and_unique() {
        let check = |names: &[&str], expected: &str| {
            let error = registry(names).expect_err("refused").to_string();
            assert!(error.contains(expected), "{names:?}: {error}");
        };
        check(&["a b"], "task name \"a b\" may contain letters");
        check(&["a*b"], "may contain letters");
        check(&["noop", "noop"], "task `noop` is registered twice");
        let settings = TaskSettings { lease_ms: 999, ..TaskSettings::default() };
        let short = Registry::new().handler_with("noop", settings, |_job: JobContext| async { Ok(()) });
        let expected = "task `noop` has a lease of 999 ms; accepted: 1000 to 3600000 ms";
        assert_eq!(short.expect_err("refused").to_string(), expected);
        assert!(registry(&["noop", "noop*"]).is_ok());
        assert!(registry(&["noop"]).expect("valid").find("noop2").is_none());
    }
}
