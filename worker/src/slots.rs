//! How a worker's slots are divided among its queues: `default=6,reports=2`, or names alone and a total. Pure.

use std::collections::BTreeMap;
use std::str::FromStr;

use protocol::key::QueueName;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Most slots of one worker.
pub const SLOTS_MAX: u64 = 1_024;
/// Most queues of one worker.
const QUEUES_MAX: usize = 64;

/// What `LONGSHORE_QUEUES` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queues {
    /// Names; the total is divided evenly.
    Named(Vec<QueueName>),
    /// Slots of each.
    Divided(BTreeMap<QueueName, u64>),
}

impl Queues {
    /// The names, in a stable order.
    #[must_use]
    pub fn names(&self) -> Vec<QueueName> {
        match self {
            Self::Named(names) => names.clone(),
            Self::Divided(slots) => slots.keys().cloned().collect(),
        }
    }

    /// The slots of each queue out of `total`; a division that names its own numbers stands by itself.
    ///
    /// # Errors
    /// When a queue would get no slot.
    pub fn divide(&self, total: u64) -> Result<BTreeMap<QueueName, u64>, String> {
        let names = match self {
            Self::Divided(slots) => return Ok(slots.clone()),
            Self::Named(names) => names,
        };
        let queues = names.len() as u64;
        if total < queues {
            return Err(format!("at least {queues}, one for each queue"));
        }
        // The first ones get what is left over.
        let share = |place: u64| total / queues + u64::from(place < total % queues);
        Ok(names.iter().cloned().zip((0..).map(share)).collect())
    }
}

const ACCEPTED: &str = "queue names separated by commas, either all with a number of slots (default=6,reports=2) or none \
                        (default,reports)";

impl FromStr for Queues {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text.split(',').map(str::trim).collect();
        if parts.len() > QUEUES_MAX {
            return Err(format!("at most {QUEUES_MAX} queues"));
        }
        let mut named: Vec<QueueName> = Vec::new();
        let mut divided = BTreeMap::new();
        for part in &parts {
            let (name, slots) = part.split_once('=').map_or((*part, None), |(name, slots)| (name, Some(slots)));
            let name =
                QueueName::try_from(name.trim()).map_err(|error| format!("{ACCEPTED}; the name {name:?} {error}"))?;
            if named.contains(&name) {
                return Err(format!("{ACCEPTED}; the name {name:?} occurs twice"));
            }
            if let Some(slots) = slots {
                let number = slots.trim().parse::<u64>().ok().filter(|slots| (1..=SLOTS_MAX).contains(slots));
                divided.insert(name.clone(), number.ok_or_else(|| format!("{ACCEPTED}; slots are 1 to {SLOTS_MAX}"))?);
            }
            named.push(name);
        }
        match divided.len() {
            0 => Ok(Self::Named(named)),
            numbers if numbers == named.len() => Ok(Self::Divided(divided)),
            _ => Err(ACCEPTED.to_owned()),
        }
    }
}

impl<'de> Deserialize<'de> for Queues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|accepted| D::Error::custom(format_args!("must be {accepted}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(text: &str, total: u64) -> Result<String, String> {
        let slots = text.parse::<Queues>()?.divide(total)?;
        Ok(slots.iter().map(|(name, slots)| format!("{name}={slots}")).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn slots_are_divided() {
        let check = |text: &str, total: u64, expected: &str| {
            assert_eq!(describe(text, total).as_deref(), Ok(expected), "{text} of {total}");
        };
        check("default", 8, "default=8");
        check("default, reports", 8, "default=4,reports=4");
        check("z,a,m", 8, "a=3,m=2,z=3");
        check("default=6,reports=2", 99, "default=6,reports=2");
        check(" a = 1 , b = 2 ", 99, "a=1,b=2");
    }

    #[test]
    fn what_is_accepted_is_said() {
        let check = |text: &str, total: u64, expected: &str| {
            let error = describe(text, total).expect_err("refused");
            assert!(error.contains(expected), "{text}: {error}");
        };
        check("", 8, "the name \"\" must not be empty");
        check("a,,b", 8, "must not be empty");
        check("a b", 8, "may contain letters");
        check("a,a", 8, "occurs twice");
        check("a=1,b", 8, "either all with a number of slots");
        check("a=0", 8, "slots are 1 to 1024");
        check("a=many", 8, "slots are 1 to 1024");
        check("a,b,c", 2, "at least 3, one for each queue");
    }
}
