//! Whether the system kept up with the rate. Pure.
//!
//! A system keeps up if what is open does not grow: a request without an answer, or a job that has not begun, is nothing bad in itself, but
//! more of them at the end of a stage than at its begin is work that was offered and not done.

use std::time::Duration;

use serde::Serialize;

use super::numbers::{count, rate, share};

/// Open things come and go by chance and with each pause of a disk: so many more at the end say nothing, and 2 % of what came.
const CHANCE: u64 = 10;
const CHANCE_PART: u64 = 50;
/// Failed requests, in parts of all, that a rate is still held with.
const FAILED_PART: u64 = 100;
/// The generator is too late when 1 % of its requests are taken up later than this.
const LATE: Duration = Duration::from_millis(10);
/// It runs on one core.
const OWN_CPU: f64 = 0.95;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rate {
    Held,
    NotHeld,
    /// The system may have, but this process could not send as planned.
    GeneratorTooSlow,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) rate: Rate,
    /// In sentences.
    pub(crate) reasons: Vec<String>,
}

/// One stage: what came, what was answered, and how much was open at its ends.
#[derive(Clone, Debug)]
pub(crate) struct StageFacts {
    pub(crate) name: String,
    pub(crate) length: Duration,
    pub(crate) due: u64,
    pub(crate) done: u64,
    pub(crate) open_before: u64,
    pub(crate) open_after: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) stages: Vec<StageFacts>,
    pub(crate) due: u64,
    pub(crate) failed: u64,
    pub(crate) not_sent: u64,
    pub(crate) jobs_accepted: u64,
    pub(crate) jobs_waiting_at_end: u64,
    /// How late 99 % of the requests were taken up at most.
    pub(crate) lateness_p99: Duration,
    /// The most that the generator used of a core in any second.
    pub(crate) own_cpu_max: f64,
}

pub(crate) fn verdict(facts: &Facts) -> Verdict {
    let system = about_the_system(facts);
    let own = about_the_generator(facts);
    let rate = match (system.is_empty(), own.is_empty()) {
        (true, true) => Rate::Held,
        (true, false) => Rate::GeneratorTooSlow,
        (false, _) => Rate::NotHeld,
    };
    Verdict { rate, reasons: system.into_iter().chain(own).collect() }
}

fn more_than_chance(open: u64, of: u64) -> bool {
    open > CHANCE + of / CHANCE_PART
}

fn about_the_system(facts: &Facts) -> Vec<String> {
    let mut reasons = Vec::new();
    for stage in &facts.stages {
        let grown = stage.open_after.saturating_sub(stage.open_before);
        if more_than_chance(grown, stage.due) {
            let per_second = |count| rate(count, stage.length);
            reasons.push(format!(
                "{}: {} offered, {} achieved, {} open requests at its end, {} at its begin",
                stage.name,
                per_second(stage.due),
                per_second(stage.done),
                count(stage.open_after),
                count(stage.open_before),
            ));
        }
    }
    if facts.not_sent > 0 {
        reasons.push(format!("{} requests were never sent: no place was free", count(facts.not_sent)));
    }
    if facts.failed > facts.due / FAILED_PART {
        reasons.push(format!("{} of the requests failed", share(facts.failed, facts.due)));
    }
    if more_than_chance(facts.jobs_waiting_at_end, facts.jobs_accepted) {
        reasons.push(format!(
            "jobs are accepted faster than they are run: {} of {} had not begun at the end",
            count(facts.jobs_waiting_at_end),
            count(facts.jobs_accepted),
        ));
    }
    reasons
}

fn about_the_generator(facts: &Facts) -> Vec<String> {
    let mut reasons = Vec::new();
    if facts.lateness_p99 > LATE {
        reasons.push(format!(
            "the generator was late itself, 1 % of the requests by more than {:.0} ms: the machine is too busy, or the rate too \
             high for one process",
            facts.lateness_p99.as_secs_f64() * 1e3,
        ));
    }
    if facts.own_cpu_max > OWN_CPU {
        reasons.push("the generator used up the one core that it can use: divide the rate among several".to_owned());
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(due: u64, done: u64, open_before: u64, open_after: u64) -> StageFacts {
        StageFacts {
            name: "hold 100/10s".to_owned(),
            length: Duration::from_secs(10),
            due,
            done,
            open_before,
            open_after,
        }
    }

    fn check(facts: &Facts, rate: Rate, says: &[&str]) {
        let verdict = verdict(facts);
        assert_eq!(verdict.rate, rate, "{verdict:?}");
        assert_eq!(verdict.reasons.len(), says.len(), "{verdict:?}");
        for (reason, says) in verdict.reasons.iter().zip(says) {
            assert!(reason.contains(says), "{reason}");
        }
    }

    #[test]
    fn what_stays_open_without_growing_is_held() {
        check(&Facts::default(), Rate::Held, &[]);
        let facts = |before, after| Facts { stages: vec![stage(1_000, 990, before, after)], ..Facts::default() };
        check(&facts(0, 30), Rate::Held, &[]);
        check(&facts(500, 530), Rate::Held, &[]);
        check(&facts(500, 0), Rate::Held, &[]);
        check(&facts(0, 31), Rate::NotHeld, &["hold 100/10s: 100/s offered, 99/s achieved, 31 open requests"]);
    }

    #[test]
    fn requests_that_fail_or_are_not_sent_are_not_held() {
        let due = 1_000;
        check(&Facts { due, failed: 10, ..Facts::default() }, Rate::Held, &[]);
        check(&Facts { due, failed: 11, ..Facts::default() }, Rate::NotHeld, &["1.10 % of the requests failed"]);
        check(&Facts { due, not_sent: 1, ..Facts::default() }, Rate::NotHeld, &["1 requests were never sent"]);
    }

    #[test]
    fn jobs_that_pile_up_are_not_held() {
        let facts = |jobs_waiting_at_end| Facts { jobs_accepted: 1_000, jobs_waiting_at_end, ..Facts::default() };
        check(&facts(30), Rate::Held, &[]);
        check(&facts(31), Rate::NotHeld, &["31 of 1,000 had not begun"]);
    }

    #[test]
    fn a_generator_that_is_late_says_so_and_does_not_hide_the_system() {
        let late = Facts { lateness_p99: Duration::from_millis(11), ..Facts::default() };
        check(&late, Rate::GeneratorTooSlow, &["by more than 11 ms"]);
        check(&Facts { not_sent: 1, ..late }, Rate::NotHeld, &["never sent", "late itself"]);
        check(&Facts { own_cpu_max: 0.97, ..Facts::default() }, Rate::GeneratorTooSlow, &["used up the one core"]);
    }
}
