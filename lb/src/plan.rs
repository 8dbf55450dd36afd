//! Which backends there are meant to be: those of the settings, or of a file of its own that is read again while the balancer runs.

use std::fs;
use std::path::Path;

use chassis::config::Address;
use serde::Deserialize;

use crate::config::{Config, Pick};
use crate::core::pick::Policy;

/// The largest weight; 0 takes no new requests.
pub(crate) const WEIGHT_MAX: u32 = 256;

/// More backends than this are not used.
pub(crate) const BACKENDS_MAX: usize = 1_024;

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) pick: Policy,
    pub(crate) targets: Vec<Target>,
}

/// An address, behind which may be several backends.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    pub(crate) address: Address,
    #[serde(default = "one")]
    pub(crate) weight: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    pick: Option<Pick>,
    #[serde(default)]
    backend: Vec<Target>,
}

impl Plan {
    /// # Errors
    /// A sentence on what is wrong with the file.
    pub(crate) fn read(config: &Config) -> Result<Plan, String> {
        if config.backends_file.is_empty() {
            let target = |address: &Address| Target { address: address.clone(), weight: one() };
            let targets = config.backends.as_slice().iter().map(target).collect();
            return Ok(Plan { pick: config.pick.0, targets });
        }
        let path = Path::new(&config.backends_file);
        let text = fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}.", path.display()))?;
        Plan::of_file(&text, config.pick.0).map_err(|error| format!("{}: {error}", path.display()))
    }

    pub(crate) fn of_file(text: &str, pick: Policy) -> Result<Plan, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let Some(place) = file.backend.iter().position(|target| target.weight > WEIGHT_MAX) else {
            return Plan { pick: file.pick.map_or(pick, |pick| pick.0), targets: file.backend }.checked();
        };
        let Target { address, weight } = &file.backend[place];
        Err(format!("the weight of {address} is {weight}; from 0 to {WEIGHT_MAX} are accepted."))
    }

    fn checked(self) -> Result<Plan, String> {
        if !(1..=BACKENDS_MAX).contains(&self.targets.len()) {
            return Err(format!(
                "it has {} [[backend]] tables; from 1 to {BACKENDS_MAX} are accepted.",
                self.targets.len()
            ));
        }
        let twice = self
            .targets
            .iter()
            .enumerate()
            .find(|(place, target)| self.targets[..*place].iter().any(|known| known.address == target.address));
        match twice {
            Some((_, target)) => Err(format!("{} is there twice.", target.address)),
            None => Ok(self),
        }
    }

    /// Adds an address or gives it another weight.
    pub(crate) fn set(&mut self, target: Target) {
        match self.targets.iter_mut().find(|known| known.address == target.address) {
            Some(known) => *known = target,
            None => self.targets.push(target),
        }
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, address: &Address) -> bool {
        let before = self.targets.len();
        self.targets.retain(|target| target.address != *address);
        self.targets.len() < before
    }
}

fn one() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, u32)]) {
        let plan = Plan::of_file(text, Policy::RoundRobin).unwrap();
        let targets: Vec<_> = plan.targets.iter().map(|target| (target.address.to_string(), target.weight)).collect();
        let expected: Vec<_> = expected.iter().map(|(address, weight)| ((*address).to_owned(), *weight)).collect();
        assert_eq!(targets, expected);
    }

    fn refused(text: &str, says: &str) {
        let error = Plan::of_file(text, Policy::RoundRobin).unwrap_err();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn a_file_names_backends_and_their_weights() {
        check("[[backend]]\naddress = \"a:1\"\n", &[("a:1", 1)]);
        check(
            "pick = \"peak-ewma\"\n[[backend]]\naddress = \"a:1\"\nweight = 3\n[[backend]]\naddress = \"b:2\"\nweight = 0\n",
            &[("a:1", 3), ("b:2", 0)],
        );
    }

    #[test]
    fn the_example_of_the_operators_page_is_a_plan() {
        check(include_str!("../tests/backends.toml"), &[("10.0.0.5:5000", 2), ("10.0.0.6:5000", 1)]);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named() {
        refused("", "0 [[backend]] tables");
        refused("[[backend]]\naddress = \"a\"\n", "host:port");
        refused("[[backend]]\naddress = \"a:1\"\nweight = 257\n", "from 0 to 256");
        refused("[[backend]]\naddress = \"a:1\"\n[[backend]]\naddress = \"a:1\"\n", "a:1 is there twice");
        refused("pick = \"best\"\n", "round-robin, least-in-flight or peak-ewma");
        refused("[[backend]]\nadress = \"a:1\"\n", "adress");
    }

    #[test]
    fn addresses_come_and_go() {
        let address = |text: &str| text.parse::<Address>().unwrap();
        let mut plan = Plan { pick: Policy::RoundRobin, targets: Vec::new() };
        plan.set(Target { address: address("a:1"), weight: 1 });
        plan.set(Target { address: address("b:2"), weight: 1 });
        plan.set(Target { address: address("a:1"), weight: 5 });
        assert_eq!(plan.targets[0].weight, 5);
        assert!(plan.remove(&address("a:1")) && !plan.remove(&address("a:1")));
        assert_eq!(plan.targets.len(), 1);
    }
}
