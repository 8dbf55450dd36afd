//! Where overrides come from: the process environment, or a map in tests.

use std::collections::BTreeMap;

use super::fault::Fault;
use super::file::text_of;

/// Variables by name. The only reader of the environment is [`Source::from_process`].
#[derive(Debug, Clone, Default)]
pub struct Source {
    variables: BTreeMap<String, String>,
    // Names whose values are not text.
    garbled: Vec<String>,
    // What is wrong with files that hold values.
    unread: Vec<Fault>,
}

/// They hold passwords, so that each may be in a file. Other secrets are: their settings end in `_FILE`.
const WITH_PASSWORDS: [&str; 2] = ["AMQP_URL", "DATABASE_URL"];

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
        source.with_files()
    }

    /// What is in the file that `NAME_FILE` names counts as the value of `NAME`, without white space around it.
    fn with_files(mut self) -> Source {
        for name in WITH_PASSWORDS {
            let variable = format!("{name}_FILE");
            let Some(file) = self.variables.remove(&variable).filter(|file| !file.is_empty()) else { continue };
            if self.get(name).is_some() {
                let sentence = format!("{name} and {variable} are both set: leave one of them out.");
                self.unread.push(Fault::sentence(sentence));
                continue;
            }
            match text_of(&variable, &file) {
                Ok(value) => drop(self.variables.insert(name.to_owned(), value.trim().to_owned())),
                Err(fault) => self.unread.push(fault),
            }
        }
        self
    }

    /// Given variables, for tests and for programs that compose others.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Source {
        let variables = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Source { variables, ..Source::default() }
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

    pub(super) fn faults(&self) -> impl Iterator<Item = Fault> {
        let garbled = self.garbled.iter().map(|name| Fault::sentence(format!("The value of {name} is not UTF-8.")));
        garbled.chain(self.unread.iter().cloned())
    }
}

fn concerns_us(name: &str) -> bool {
    name.starts_with("LONGSHORE_") || WITH_PASSWORDS.contains(&name.strip_suffix("_FILE").unwrap_or(name))
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
        let source = Source { garbled: vec!["LONGSHORE_LISTEN".to_owned()], ..Source::default() };
        let faults: Vec<_> = source.faults().collect();
        assert_eq!(faults, [Fault::sentence("The value of LONGSHORE_LISTEN is not UTF-8.")]);
    }

    #[test]
    fn a_password_may_be_in_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("secret");
        std::fs::write(&file, "amqp://u:secret@h\n").expect("written");
        let file = file.display().to_string();
        let read = |pairs: &[(&str, &str)]| Source::from_pairs(pairs.iter().copied()).with_files();
        let source = read(&[("AMQP_URL_FILE", &file), ("AMQP_URL", ""), ("LONGSHORE_LOG_FILE", &file)]);
        assert_eq!((source.get("AMQP_URL"), source.get("LONGSHORE_LOG")), (Some("amqp://u:secret@h"), None));
        assert_eq!((source.faults().count(), source.has("AMQP_URL_FILE")), (0, false));
        let refused = |pairs: &[(&str, &str)], says: &str| {
            let faults: Vec<_> = read(pairs).faults().map(|fault| fault.to_string()).collect();
            assert!(faults.len() == 1 && faults[0].contains(says) && !faults[0].contains("secret@"), "{faults:?}");
        };
        refused(
            &[("DATABASE_URL_FILE", "/nowhere/secret")],
            "DATABASE_URL_FILE names /nowhere/secret, which cannot be read",
        );
        refused(&[("AMQP_URL_FILE", &file), ("AMQP_URL", "amqp://x")], "AMQP_URL and AMQP_URL_FILE are both set");
    }

    #[test]
    fn only_our_variables_are_read_from_the_process() {
        assert!(concerns_us("LONGSHORE_LOG") && concerns_us("AMQP_URL") && concerns_us("DATABASE_URL_FILE"));
        assert!(!concerns_us("PATH") && !concerns_us("MY_LONGSHORE_LOG"));
    }
}
