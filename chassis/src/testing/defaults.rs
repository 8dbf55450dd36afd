//! A configuration file that is its own documentation has a comment for every key, and every key's variable is known.

use toml::Table;

use crate::config::{KNOWN, variable_of};

/// Checks a service's `default.toml`: it parses, every key has a comment above it, every variable is in [`KNOWN`].
///
/// # Panics
/// On the first key that does not.
pub fn check_defaults(defaults: &str) {
    let table: Table = toml::from_str(defaults).expect("default.toml is TOML");
    for key in table.keys() {
        let variable = variable_of(key);
        let known = KNOWN.contains(&variable.as_str()) || !variable.starts_with("LONGSHORE_");
        assert!(known, "{variable} is not in chassis::config::KNOWN");
        let mut before = "";
        for line in defaults.lines() {
            if line.starts_with(&format!("{key} =")) {
                assert!(before.starts_with('#'), "the key {key} has no comment above it");
            }
            before = line;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_all_programs_are_documented_and_known() {
        check_defaults(crate::config::COMMON_DEFAULTS);
    }
}
