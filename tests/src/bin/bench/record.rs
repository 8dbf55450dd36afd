//! What a run of the bench leaves: numbers and what they were measured on, as JSON, from which everything else is rendered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// What the sections are from: one, unless records were joined.
    pub(crate) recorded: Vec<Recording>,
    pub(crate) sections: Vec<Section>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recording {
    /// RFC 3339, when the run ended.
    pub(crate) at: String,
    /// The command that makes such a record.
    pub(crate) command: String,
    pub(crate) machine: Machine,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    /// How busy the machine was over the minute before the run.
    pub(crate) load_before: f64,
    /// The version of each contender and tool.
    pub(crate) versions: BTreeMap<String, String>,
}

/// Contenders that were measured in turn.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) contenders: Vec<Contender>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contender {
    pub(crate) name: String,
    /// What it is made of and what it promises, so that nobody compares the wrong things.
    pub(crate) what: String,
    pub(crate) runs: Vec<Run>,
}

/// One measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    pub(crate) operations: u64,
    /// From the first request to the end of the last operation.
    pub(crate) seconds: f64,
    /// Of the answers to the requests.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// CPU time per operation by part, in microseconds, brokers and databases included.
    pub(crate) cpu_us: BTreeMap<String, f64>,
    /// CPU time per operation of the load generator, in microseconds.
    pub(crate) generator_us: f64,
    /// Resident memory by part after the run, in MiB; of a backlog, by how much each part grew.
    #[serde(default)]
    pub(crate) resident_mib: BTreeMap<String, f64>,
    /// How often the origin was asked for each invalidation, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) loads_each: Option<f64>,
}

impl Run {
    #[expect(clippy::cast_precision_loss, reason = "a count of operations is far below 2^52")]
    pub(crate) fn per_second(&self) -> f64 {
        self.operations as f64 / self.seconds
    }

    pub(crate) fn loads_each(&self) -> f64 {
        self.loads_each.unwrap_or_default()
    }

    /// Of the part that has the most.
    pub(crate) fn largest_mib(&self) -> f64 {
        self.resident_mib.values().copied().fold(0.0, f64::max)
    }

    /// Of all parts together, without the load generator.
    pub(crate) fn total_us(&self) -> f64 {
        self.cpu_us.values().sum()
    }
}

impl Contender {
    pub(crate) fn median(&self, value: impl Fn(&Run) -> f64) -> f64 {
        median(self.runs.iter().map(value).collect())
    }

    pub(crate) fn least_and_most(&self, value: impl Fn(&Run) -> f64) -> (f64, f64) {
        let values = self.runs.iter().map(value);
        values.fold((f64::INFINITY, 0.0), |(least, most), value| (value.min(least), value.max(most)))
    }

    /// The parts of all runs, in the order of their names.
    pub(crate) fn parts(&self) -> Vec<&str> {
        self.runs.first().map_or_else(Vec::new, |run| run.cpu_us.keys().map(String::as_str).collect())
    }
}

impl Record {
    /// One of several parts, each measured in a run of its own. `None` if a section is in two of them.
    pub(crate) fn joined(records: Vec<Record>) -> Option<Record> {
        let mut joined = Record { recorded: Vec::new(), sections: Vec::new() };
        for record in records {
            let is_there = |section: &Section| joined.sections.iter().any(|known| known.name == section.name);
            if record.sections.iter().any(is_there) {
                return None;
            }
            joined.recorded.extend(record.recorded);
            joined.sections.extend(record.sections);
        }
        Some(joined)
    }

    pub(crate) fn contender(&self, section: &str, name: &str) -> Option<&Contender> {
        let section = self.sections.iter().find(|candidate| candidate.name == section)?;
        section.contenders.iter().find(|contender| contender.name == name)
    }
}

/// The middle one, of an even number the mean of the two; 0 of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (upper, lower) = (values.len() / 2, values.len().saturating_sub(1) / 2);
    match (values.get(lower), values.get(upper)) {
        (Some(lower), Some(upper)) => f64::midpoint(*lower, *upper),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_one_record_unless_they_overlap() {
        let part = |names: &[&str]| {
            let section = |name: &&str| Section { name: (*name).to_owned(), contenders: Vec::new() };
            Record { recorded: vec![Recording::default()], sections: names.iter().map(section).collect() }
        };
        let joined = Record::joined(vec![part(&["jobs"]), part(&["reads", "storm"])]).unwrap();
        let names: Vec<_> = joined.sections.iter().map(|section| section.name.as_str()).collect();
        assert_eq!((joined.recorded.len(), names), (2, vec!["jobs", "reads", "storm"]));
        assert!(Record::joined(vec![part(&["jobs"]), part(&["reads", "jobs"])]).is_none());
    }

    #[test]
    fn median_is_the_middle() {
        let check = |values: &[f64], expected: f64| assert_eq!(median(values.to_vec()), expected, "{values:?}");
        check(&[], 0.0);
        check(&[4.0], 4.0);
        check(&[9.0, 1.0, 3.0], 3.0);
        check(&[9.0, 1.0, 3.0, 4.0], 3.5);
    }
}
