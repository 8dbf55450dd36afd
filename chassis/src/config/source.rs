//! Where overrides come from: the process environment, or a map in tests.

use std::collections::BTreeMap;

use super::fault::Fault;

/// Variables by name. The only reader of the environment is [`Source::from_process`].
#[derive(Debug, Clone, Default)]
pub struct Source {
    variables: BTreeMap<String, String>,
    // Names whose values are not text.
    garbled: Vec<String>,
}

impl Source {
    /// The variables of this process that concern us.
    pub fn from_process() -> Source {
        let mut source = Source::default();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            if !concerns_us(&name) {
                continue;
            }
            match value.into_string() {
                Ok(value) => drop(source.variables.insert(name, value)),
                Err(_) => source.garbled.push(name),
            }
        }
        source
    }

    /// Given variables, for tests and for programs that compose others.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Source {
        let variables = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Source { variables, garbled: Vec::new() }
    }

    /// The value of a variable. An empty one counts as absent, as people clear variables that way.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The same variables with one set.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Source {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// The same variables without one.
    #[must_use]
    pub fn without(mut self, name: &str) -> Source {
        self.variables.remove(name);
        self
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().chain(&self.garbled).map(String::as_str)
    }

    pub(super) fn garbled_faults(&self) -> impl Iterator<Item = Fault> {
        self.garbled.iter().map(|name| Fault::sentence(format!("The value of {name} is not UTF-8.")))
    }
}

fn concerns_us(name: &str) -> bool {
    name.starts_with("LONGSHORE_") || name == "AMQP_URL" || name == "DATABASE_URL"
}
