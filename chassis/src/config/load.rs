//! Merges defaults and overrides into a typed configuration and collects everything that is wrong with it.

use std::net::SocketAddr;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::fault::{ConfigError, Fault};
use super::known;
use super::source::Source;

/// A program's configuration: `defaults` with the overrides of `source`.
///
/// A top-level key `abc_ms` is overridden by `LONGSHORE_ABC_MS`, read as the type of its default; `amqp_url` and
/// `database_url` by `AMQP_URL` and `DATABASE_URL`. A variable that no program knows is a fault.
///
/// # Errors
/// Every fault found, each as one sentence.
pub fn load<C: DeserializeOwned>(defaults: &'static str, source: &Source) -> Result<C, ConfigError> {
    load_checked(defaults, source, |_, _| {})
}

/// [`load`], with the program's own checks of values that are each well-formed.
///
/// The checks run also when something else is wrong (then with the default in its place), so that all is said at once.
///
/// # Errors
/// Every fault found, each as one sentence.
pub fn load_checked<C: DeserializeOwned>(
    defaults: &'static str,
    source: &Source,
    check: impl FnOnce(&C, &mut Vec<Fault>),
) -> Result<C, ConfigError> {
    let defaults: Table =
        toml::from_str(defaults).map_err(|error| Fault::sentence(format!("default.toml: {error}")))?;
    let mut faults: Vec<Fault> = source.faults().collect();
    faults.extend(unknown_variables(&defaults, source));
    let mut merged = defaults.clone();
    for (key, default) in &defaults {
        let name = variable_of(key);
        let Some(text) = source.get(&name) else { continue };
        match parse_as(default, text) {
            Ok(value) => drop(merged.insert(key.clone(), value)),
            Err(accepted) => faults.push(Fault::value(&name, text, accepted)),
        }
    }
    let config = deserialize(&defaults, merged, source, &mut faults);
    if let Some(config) = &config {
        check(config, &mut faults);
    }
    match config {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(ConfigError { faults }),
    }
}

/// The variable that overrides a key.
pub fn variable_of(key: &str) -> String {
    match key {
        "amqp_url" | "database_url" => key.to_uppercase(),
        _ => format!("LONGSHORE_{}", key.to_uppercase()),
    }
}

/// Refuses to listen where others can reach us, unless that is `allowed`: the network is trusted, or clients are asked who they are.
///
/// # Errors
/// A sentence that says what to set.
pub fn refuse_exposed(variable: &str, listen: SocketAddr, allowed: bool) -> Result<(), Fault> {
    if allowed || listen.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(Fault::sentence(format!(
        "{variable} is \"{listen}\", which others can reach, and nobody is asked for a key: use a loopback address such as 127.0.0.1:{}, \
         set LONGSHORE_AUTH=1 for gateways and the balancer, LONGSHORE_INTERNAL_KEY_FILE for the others, or LONGSHORE_INSECURE=1 if the network around it is trusted.",
        listen.port()
    )))
}

fn unknown_variables(defaults: &Table, source: &Source) -> Vec<Fault> {
    let own: Vec<String> = defaults.keys().map(|key| variable_of(key)).collect();
    let is_ours = |name: &str| known::is_known(name) || own.iter().any(|known| known == name);
    let unknown = source.names().filter(|name| name.starts_with("LONGSHORE_") && !is_ours(name));
    let fault = |name| match known::nearest(name, own.iter().map(String::as_str)) {
        Some(nearest) => Fault::sentence(format!("{name} is not a setting of any program; did you mean {nearest}?")),
        None => Fault::sentence(format!("{name} is not a setting of any program.")),
    };
    unknown.map(fault).collect()
}

/// The text as a value of the default's type, or what is accepted.
fn parse_as(default: &Value, text: &str) -> Result<Value, &'static str> {
    match default {
        Value::String(_) => Ok(Value::String(text.to_owned())),
        Value::Integer(_) => text.parse().map(Value::Integer).map_err(|_| "a whole number"),
        Value::Float(_) => text.parse().map(Value::Float).map_err(|_| "a number"),
        Value::Boolean(_) => match text {
            "1" | "true" => Ok(Value::Boolean(true)),
            "0" | "false" => Ok(Value::Boolean(false)),
            _ => Err("1, true, 0 or false"),
        },
        Value::Array(_) => {
            Ok(Value::Array(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect()))
        }
        Value::Datetime(_) | Value::Table(_) => Err("set in a file: it has no form as a variable"),
    }
}

/// The typed configuration. A value that its type refuses is a fault; its default takes its place, so that the next is found too.
fn deserialize<C: DeserializeOwned>(
    defaults: &Table,
    mut merged: Table,
    source: &Source,
    faults: &mut Vec<Fault>,
) -> Option<C> {
    loop {
        let error = match serde_path_to_error::deserialize(merged.clone()) {
            Ok(config) => return Some(config),
            Err(error) => error,
        };
        let path = error.path().to_string();
        let key = path.split(['.', '[']).next().unwrap_or_default().to_owned();
        let message = error.inner().message().to_owned();
        let name = variable_of(&key);
        match (source.get(&name), defaults.get(&key)) {
            (Some(text), Some(default)) if merged.get(&key) != Some(default) => {
                let accepted = message.strip_prefix("must be ").unwrap_or(&message);
                let joined = if accepted.len() < message.len() { "but must be" } else { "which is refused:" };
                faults.push(Fault::sentence(format!("{name} is {text:?}, {joined} {accepted}.")));
                merged.insert(key, default.clone());
            }
            _ => {
                faults.push(Fault::sentence(format!(
                    "The default of {name} ({path} in default.toml) is wrong: {message}."
                )));
                return None;
            }
        }
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
