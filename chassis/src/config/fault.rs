//! What is wrong with a configuration, one sentence each, all of them at once.

use std::fmt;

/// One wrong setting, as a sentence that names the variable, the value and what is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    sentence: String,
}

/// Everything that is wrong with a configuration; the program exits with 64.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    pub faults: Vec<Fault>,
}

impl Fault {
    /// A value that is not among the accepted ones: `LONGSHORE_SLOTS is "many", but must be a whole number.`
    pub fn value(name: &str, value: &str, accepted: &str) -> Fault {
        Fault { sentence: format!("{name} is {value:?}, but must be {accepted}.") }
    }

    /// A value that must be set: `AMQP_URL is not set, but must be amqp://user:password@host:port/vhost.`
    pub fn missing(name: &str, accepted: &str) -> Fault {
        Fault { sentence: format!("{name} is not set, but must be {accepted}.") }
    }

    /// Any other sentence. It names the variable, the value and what is accepted.
    pub fn sentence(sentence: impl Into<String>) -> Fault {
        Fault { sentence: sentence.into() }
    }
}

/// Notes a number that is out of its range.
pub fn check_range(name: &str, value: u64, min: u64, max: u64, faults: &mut Vec<Fault>) {
    if !(min..=max).contains(&value) {
        faults.push(Fault::value(name, &value.to_string(), &format!("from {min} to {max}")));
    }
}

impl ConfigError {
    /// The error of these faults, if there are any.
    pub fn of(faults: Vec<Fault>) -> Result<(), ConfigError> {
        if faults.is_empty() { Ok(()) } else { Err(ConfigError { faults }) }
    }

    /// Two results as one, with the faults of both.
    pub fn both<A, B>(a: Result<A, ConfigError>, b: Result<B, ConfigError>) -> Result<(A, B), ConfigError> {
        match (a, b) {
            (Ok(a), Ok(b)) => Ok((a, b)),
            (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
            (Err(mut first), Err(second)) => {
                let new = second.faults.into_iter().filter(|fault| !first.faults.contains(fault)).collect::<Vec<_>>();
                first.faults.extend(new);
                Err(first)
            }
        }
    }
}

impl From<Fault> for ConfigError {
    fn from(fault: Fault) -> ConfigError {
        ConfigError { faults: vec![fault] }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, fault) in self.faults.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}
