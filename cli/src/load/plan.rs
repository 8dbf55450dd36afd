//! What was asked for, checked: everything that a load needs to know before it begins.

use std::path::PathBuf;
use std::time::Duration;

use chassis::config::{Address, ConfigError, Fault};
use protocol::key::{QueueName, TaskName};
use serde_json::value::RawValue;

use super::arguments::{Load, Programs};
use super::mix::Mix;
use super::stages::{Stage, Stages};

/// What a load without --rate and --for is: enough to see something, little enough to disturb nobody.
const DEFAULT_RATE: f64 = 50.0;
const DEFAULT_LENGTH: Duration = Duration::from_secs(30);
/// Jobs are remembered until they have been looked up, 50 bytes or so each.
const REQUESTS_MAX: f64 = 20_000_000.0;

/// The balancer's port and those of the other programs, where nobody said otherwise.
const USUAL: u16 = 8000;
const USUAL_PROGRAMS: [u16; 7] = [8000, 5000, 5003, 5006, 5004, 5002, 5005];

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) stages: Stages,
    pub(crate) mix: Mix,
    pub(crate) task: TaskName,
    pub(crate) queue: Option<QueueName>,
    pub(crate) payload: Option<Box<RawValue>>,
    pub(crate) bytes: usize,
    pub(crate) keys: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) max_backlog: usize,
    pub(crate) timeout: Duration,
    pub(crate) drain: Duration,
    pub(crate) seed: u64,
    pub(crate) programs: Vec<Address>,
    pub(crate) json: bool,
    pub(crate) report: Option<PathBuf>,
}

impl Plan {
    /// `service` is where the requests go.
    ///
    /// # Errors
    /// What is wrong with an argument that clap could not see alone.
    pub(crate) fn new(load: Load, service: &Address) -> Result<Self, ConfigError> {
        let stages = match load.stages {
            Some(stages) => stages,
            None => {
                let (rate, length) = (load.rate.unwrap_or(DEFAULT_RATE), load.length.unwrap_or(DEFAULT_LENGTH));
                let stages = Stages::new(vec![Stage::hold(rate, length)]);
                stages.map_err(|error| Fault::sentence(format!("--rate and --for together {error}.")))?
            }
        };
        if stages.requests() > REQUESTS_MAX {
            let sentence = format!("the load has {:.0} requests, but may have {REQUESTS_MAX}.", stages.requests());
            return Err(Fault::sentence(sentence).into());
        }
        let payload = load.payload.map(|text| RawValue::from_string(text.trim().to_owned()).map_err(|_| text));
        let payload =
            payload.transpose().map_err(|text| Fault::value("--payload", &text, "JSON, such as '{\"n\": 1}'"))?;
        Ok(Self {
            stages,
            mix: load.mix,
            task: load.task,
            queue: load.queue,
            payload,
            bytes: usize::try_from(load.bytes).unwrap_or(usize::MAX),
            keys: load.keys.into(),
            max_in_flight: load.max_in_flight.into(),
            max_backlog: usize::try_from(load.max_backlog).unwrap_or(usize::MAX),
            timeout: load.timeout,
            drain: load.drain,
            seed: load.seed,
            programs: programs(load.programs, service),
            json: load.json,
            report: load.report,
        })
    }
}

/// The usual ports say nothing about a service that is somewhere else.
fn programs(asked: Option<Programs>, service: &Address) -> Vec<Address> {
    let usual = [Address::loopback(USUAL), format!("localhost:{USUAL}").parse().unwrap_or(Address::loopback(USUAL))];
    match asked {
        Some(Programs(addresses)) => addresses,
        None if usual.contains(service) => USUAL_PROGRAMS.map(Address::loopback).to_vec(),
        None => vec![service.clone()],
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        load: Load,
    }

    fn check(line: &[&str], expected: Result<(f64, usize), &str>) {
        let plan = Line::try_parse_from(["load"].iter().chain(line)).map_err(|error| error.to_string());
        let plan =
            plan.and_then(|line| Plan::new(line.load, &Address::loopback(USUAL)).map_err(|error| error.to_string()));
        match (plan, expected) {
            (Ok(plan), Ok(expected)) => assert_eq!((plan.stages.requests(), plan.programs.len()), expected, "{line:?}"),
            (Err(error), Err(says)) => assert!(error.contains(says), "{line:?}: {error}"),
            (plan, expected) => panic!("{line:?}: {plan:?} is not {expected:?}"),
        }
    }

    #[test]
    fn a_load_is_a_rate_for_a_time_or_stages() {
        check(&[], Ok((1_500.0, 7)));
        check(&["--rate", "200/s", "--for", "1m"], Ok((12_000.0, 7)));
        check(&["--stages", "ramp 0..10/10s", "--programs", "a:1,b:2"], Ok((50.0, 2)));
        check(&["--programs", "none"], Ok((1_500.0, 0)));
        check(&["--rate", "2", "--stages", "hold 1/1s"], Err("cannot be used with"));
        check(&["--rate", "fast"], Err("must be requests per second"));
        check(&["--rate", "0.01", "--for", "1s"], Err("--rate and --for together must hold at least one request"));
        check(&["--rate", "100000", "--for", "1h"], Err("has 360000000 requests, but may have 20000000"));
        check(&["--for", "0s"], Err("must be above zero"));
        check(&["--stages", "hold 5"], Err("lacks its time after a slash"));
        check(&["--mix", "sumbit=1"], Err("which is no kind of request"));
        check(&["--payload", "{"], Err("--payload is \"{\", but must be JSON"));
        check(&["--programs", "nowhere"], Err("must be host:port"));
        check(&["--max-in-flight", "0"], Err("1..=10000"));
    }

    #[test]
    fn programs_elsewhere_are_not_taken_for_those_of_this_machine() {
        let shown = |asked, service: &str| {
            let service = service.parse().expect("an address");
            programs(asked, &service).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(shown(None, "localhost:8000").len(), 7);
        assert_eq!(shown(None, "http://example.com:8000"), ["example.com:8000"]);
        assert_eq!(shown(Some(Programs(vec![Address::loopback(1)])), "localhost:8000"), ["127.0.0.1:1"]);
    }
}
