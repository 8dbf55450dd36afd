//! Loading: defaults, overrides, and what is said about a bad value.

use super::*;
use crate::config::{Addresses, Listen};
use serde::Deserialize;

const DEFAULTS: &str = r#"
# where to listen
listen = "127.0.0.1:5000"
slots = 4
ratio = 0.5
verbose = false
mode = "fast"
store_url = "127.0.0.1:5002"
amqp_url = ""
patterns = ["a"]
"#;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    listen: Listen,
    slots: u16,
    ratio: f64,
    verbose: bool,
    mode: Mode,
    store_url: Addresses,
    amqp_url: String,
    patterns: Vec<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Fast,
    Safe,
}

fn check(pairs: &[(&str, &str)], expected: &[&str]) {
    let source = Source::from_pairs(pairs.iter().copied());
    let sentences = match load_checked::<Config>(DEFAULTS, &source, own_checks) {
        Ok(_) => Vec::new(),
        Err(error) => error.faults.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(sentences, expected, "{pairs:?}");
}

fn own_checks(config: &Config, faults: &mut Vec<Fault>) {
    if config.slots == 0 {
        faults.push(Fault::value("LONGSHORE_SLOTS", "0", "at least 1"));
    }
}

#[test]
fn overrides_take_the_type_of_the_default() {
    let source = Source::from_pairs([
        ("LONGSHORE_LISTEN", "localhost:0"),
        ("LONGSHORE_SLOTS", "9"),
        ("LONGSHORE_RATIO", "0.25"),
        ("LONGSHORE_VERBOSE", "1"),
        ("LONGSHORE_MODE", "safe"),
        ("LONGSHORE_STORE_URL", "a:1,b:2"),
        ("AMQP_URL", "amqp://x"),
        ("LONGSHORE_PATTERNS", "b, c"),
    ]);
    let config: Config = load(DEFAULTS, &source).unwrap();
    assert_eq!(config.listen.0.port(), 0);
    assert_eq!((config.slots, config.ratio, config.verbose, config.mode), (9, 0.25, true, Mode::Safe));
    assert_eq!(config.store_url.as_slice().len(), 2);
    assert_eq!((config.amqp_url.as_str(), config.patterns), ("amqp://x", vec!["b".to_owned(), "c".to_owned()]));
}

#[test]
fn defaults_stand_where_nothing_is_set() {
    let config: Config = load(DEFAULTS, &Source::from_pairs([("LONGSHORE_SLOTS", "")])).unwrap();
    assert_eq!((config.slots, config.mode), (4, Mode::Fast));
}

#[test]
fn a_bad_value_is_named_with_the_accepted_ones() {
    check(&[("LONGSHORE_SLOTS", "many")], &[r#"LONGSHORE_SLOTS is "many", but must be a whole number."#]);
    check(&[("LONGSHORE_VERBOSE", "yes")], &[r#"LONGSHORE_VERBOSE is "yes", but must be 1, true, 0 or false."#]);
    check(
        &[("LONGSHORE_LISTEN", "5000")],
        &[r#"LONGSHORE_LISTEN is "5000", but must be an IP address and a port, such as 127.0.0.1:5000 or [::1]:5000."#],
    );
    check(
        &[("LONGSHORE_MODE", "slow")],
        &[r#"LONGSHORE_MODE is "slow", which is refused: unknown variant `slow`, expected `fast` or `safe`."#],
    );
    check(&[("LONGSHORE_SLOTS", "0")], &[r#"LONGSHORE_SLOTS is "0", but must be at least 1."#]);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let pairs = [
        ("LONGSHORE_SLOTS", "70000"),
        ("LONGSHORE_RATIO", "half"),
        ("LONGSHORE_MODE", "slow"),
        ("LONGSHORE_STORE_URL", "store"),
        ("LONGSHORE_SLOTZ", "1"),
    ];
    let error = load::<Config>(DEFAULTS, &Source::from_pairs(pairs)).unwrap_err();
    for (name, value) in &pairs[..4] {
        let sentence = format!("{name} is {value:?}");
        assert_eq!(error.faults.iter().filter(|fault| fault.to_string().contains(&sentence)).count(), 1, "{error}");
    }
    assert_eq!(error.faults.len(), 5, "{error}");
}

#[test]
fn a_typo_is_told_from_another_programs_setting() {
    check(&[("LONGSHORE_BACKENDS", "a:1"), ("LONGSHORE_JOB_ID", "7"), ("HOME", "/")], &[]);
    check(
        &[("LONGSHORE_SLOTZ", "1")],
        &["LONGSHORE_SLOTZ is not a setting of any program; did you mean LONGSHORE_SLOTS?"],
    );
    check(
        &[("LONGSHORE_PATERNS", "1")],
        &["LONGSHORE_PATERNS is not a setting of any program; did you mean LONGSHORE_PATTERNS?"],
    );
}

#[test]
fn a_wrong_default_is_named_as_such() {
    let error = load::<Config>("slots = 70000", &Source::default()).unwrap_err();
    assert!(error.to_string().starts_with("The default of"), "{error}");
}

#[test]
fn listening_beyond_loopback_needs_a_word() {
    for (listen, insecure, allowed) in [
        ("127.0.0.1:1", false, true),
        ("127.9.9.9:1", false, true),
        ("[::1]:1", false, true),
        ("[::ffff:127.0.0.1]:1", false, true),
        ("0.0.0.0:1", false, false),
        ("[::]:1", false, false),
        ("10.0.0.1:1", false, false),
        ("0.0.0.0:1", true, true),
    ] {
        let refused = refuse_exposed("LONGSHORE_LISTEN", listen.parse().unwrap(), insecure);
        assert_eq!(refused.is_ok(), allowed, "{listen}");
        assert!(refused.map_or_else(|fault| fault.to_string().contains("LONGSHORE_INSECURE=1"), |()| true));
    }
}
