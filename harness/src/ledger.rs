//! What the system told its clients, and what must follow from it: every accepted job is there and ends, an ending never changes, and no
//! job appears that nobody submitted. Pure: the client feeds it, the audit at a test's end asks it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A point in the order of things told; a request began before or after what another answer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

#[derive(Debug)]
struct Ending {
    outcome: String,
    told: Moment,
}

#[derive(Debug, Default)]
pub struct Ledger {
    now: u64,
    accepted: BTreeSet<String>,
    /// Submits without an answer, or with a 5xx: each may have made one job.
    fates_unknown: usize,
    left: BTreeSet<String>,
    endings: BTreeMap<(String, u64), Ending>,
    broken_promises: Vec<String>,
}

pub fn is_terminal(job: &Value) -> bool {
    matches!(status(job), "succeeded" | "failed" | "cancelled")
}

pub fn job_id(job: &Value) -> &str {
    job["job_id"].as_str().unwrap_or_default()
}

fn status(job: &Value) -> &str {
    job["status"].as_str().unwrap_or_default()
}

impl Ledger {
    /// The moment at which a request begins.
    pub fn begin(&mut self) -> Moment {
        self.now += 1;
        Moment(self.now)
    }

    /// A 2xx named this job.
    pub fn accept(&mut self, id: &str) {
        self.accepted.insert(id.to_owned());
    }

    pub fn fate_unknown(&mut self) {
        self.fates_unknown += 1;
    }

    /// The test says that this job will not have ended when the test does.
    pub fn leave(&mut self, id: &str) {
        self.left.insert(id.to_owned());
    }

    /// Its client has dropped it.
    pub fn purged(&mut self, id: &str) {
        self.accepted.remove(id);
    }

    pub fn accepted(&self) -> impl Iterator<Item = &str> {
        self.accepted.iter().map(String::as_str)
    }

    pub fn is_left(&self, id: &str) -> bool {
        self.left.contains(id)
    }

    /// How many jobs the test leaves.
    pub fn left(&self) -> usize {
        self.left.len()
    }

    /// An answer to a request that began at `began` showed this job. Answers may come in another order than they were read in, so an ending
    /// binds only what was asked after it was told.
    pub fn see(&mut self, began: Moment, job: &Value) {
        let (id, run) = (job_id(job).to_owned(), job["run"].as_u64().unwrap_or(1));
        let shown = format!("{} result={} error={}", status(job), job["result"], job["error"]);
        let told = self.begin();
        let ended = is_terminal(job);
        match self.endings.get(&(id.clone(), run)) {
            Some(ending) if ending.outcome != shown && (ended || began > ending.told) => {
                self.broken_promises
                    .push(format!("job {id} run {run} was told as [{}], then as [{shown}]", ending.outcome));
            }
            None if ended => {
                self.endings.insert((id, run), Ending { outcome: shown, told });
            }
            _ => {}
        }
    }

    /// Everything that does not hold, given all the jobs that the system lists. Empty is what one wants to see.
    pub fn audit(&self, listed: &[Value]) -> Vec<String> {
        let mut broken = self.broken_promises.clone();
        let mut ids = BTreeSet::new();
        for job in listed {
            if !ids.insert(job_id(job)) {
                broken.push(format!("job {} is listed twice", job_id(job)));
            }
            if !is_terminal(job) && !self.is_left(job_id(job)) {
                broken.push(format!("job {} has not ended: {job}", job_id(job)));
            }
        }
        let lost = self.accepted.iter().filter(|id| !ids.contains(id.as_str()));
        broken.extend(lost.map(|id| format!("job {id} was accepted and is not there")));
        let strangers: Vec<_> = ids.iter().filter(|id| !self.accepted.contains(**id)).collect();
        if strangers.len() > self.fates_unknown {
            broken.push(format!(
                "{} submits of unknown fate, but these were never accepted: {strangers:?}",
                self.fates_unknown
            ));
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(id: &str, status: &str) -> Value {
        json!({"job_id": id, "status": status, "run": 1})
    }

    /// Feeds the ledger, then audits it against `listed` and compares how many promises were broken and the words of the first.
    fn check(feed: impl FnOnce(&mut Ledger), listed: &[Value], expected: &[&str]) {
        let mut ledger = Ledger::default();
        feed(&mut ledger);
        let broken = ledger.audit(listed);
        assert_eq!(broken.len(), expected.len(), "{broken:?}");
        for (found, words) in broken.iter().zip(expected) {
            assert!(found.contains(words), "{found:?} does not say {words:?}");
        }
    }

    #[test]
    fn accepted_jobs_must_be_there_and_ended() {
        check(|ledger| ledger.accept("a"), &[job("a", "succeeded")], &[]);
        check(|ledger| ledger.accept("a"), &[], &["accepted and is not there"]);
        check(|ledger| ledger.accept("a"), &[job("a", "running")], &["has not ended"]);
        check(|ledger| (ledger.accept("a"), ledger.leave("a")).1, &[job("a", "queued")], &[]);
        check(|ledger| ledger.accept("a"), &[job("a", "failed"), job("a", "failed")], &["listed twice"]);
    }

    #[test]
    fn only_a_submit_of_unknown_fate_explains_a_stranger() {
        check(|_| (), &[job("b", "succeeded")], &["never accepted"]);
        check(Ledger::fate_unknown, &[job("b", "succeeded")], &[]);
        check(Ledger::fate_unknown, &[job("b", "succeeded"), job("c", "failed")], &["never accepted"]);
    }

    #[test]
    fn an_ending_binds_what_is_asked_after_it() {
        let told = |second: Value, asked_after: bool| {
            move |ledger: &mut Ledger| {
                ledger.accept("a");
                let early = ledger.begin();
                ledger.see(early, &job("a", "succeeded"));
                let began = if asked_after { ledger.begin() } else { early };
                ledger.see(began, &second);
            }
        };
        let listed = [job("a", "succeeded")];
        check(told(job("a", "succeeded"), true), &listed, &[]);
        check(told(job("a", "running"), false), &listed, &[]);
        check(told(job("a", "running"), true), &listed, &["was told as"]);
        check(told(job("a", "failed"), false), &listed, &["was told as"]);
        check(told(json!({"job_id": "a", "status": "running", "run": 2}), true), &listed, &[]);
    }
}
