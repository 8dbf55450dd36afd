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

    /// Whether it is set, be it to nothing.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.variables.contains_key(name)
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

    /// The names of all variables that concern us.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().chain(&self.garbled).map(String::as_str)
    }

    pub(super) fn garbled_faults(&self) -> impl Iterator<Item = Fault> {
        self.garbled.iter().map(|name| Fault::sentence(format!("The value of {name} is not UTF-8.")))
    }
}

fn concerns_us(name: &str) -> bool {
    name.starts_with("LONGSHORE_") || name == "AMQP_URL" || name == "DATABASE_URL"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_counts_as_absent() {
        let source = Source::from_pairs([("AMQP_URL", ""), ("LONGSHORE_SLOTS", "4")]);
        assert_eq!((source.get("AMQP_URL"), source.get("LONGSHORE_SLOTS")), (None, Some("4")));
        let changed = source.with("AMQP_URL", "amqp://x").without("LONGSHORE_SLOTS");
        assert_eq!((changed.get("AMQP_URL"), changed.get("LONGSHORE_SLOTS")), (Some("amqp://x"), None));
    }

    #[test]
    fn a_value_that_is_not_text_is_a_fault() {
        let source = Source { variables: BTreeMap::new(), garbled: vec!["LONGSHORE_LISTEN".to_owned()] };
        let faults: Vec<_> = source.garbled_faults().collect();
        assert_eq!(faults, [Fault::sentence("The value of LONGSHORE_LISTEN is not UTF-8.")]);
    }

    #[test]
    fn only_our_variables_are_read_from_the_process() {
        assert!(concerns_us("LONGSHORE_LOG") && concerns_us("AMQP_URL") && concerns_us("DATABASE_URL"));
        assert!(!concerns_us("PATH") && !concerns_us("MY_LONGSHORE_LOG"));
    }
}
