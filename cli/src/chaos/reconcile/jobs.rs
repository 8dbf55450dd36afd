//! Every accepted job is there, has ended, and ended once; nothing is there that nobody submitted. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{Promise, Verdict};
use crate::chaos::history::{Entry, Event, Shown};

/// What is known of one submit.
#[derive(Debug, Default)]
struct Submit<'a> {
    ids: BTreeSet<&'a str>,
    is_refused: bool,
}

/// What was told of one run of a job.
struct Ending<'a> {
    shown: &'a Shown,
    told_ms: u64,
}

pub(super) fn judge(history: &[Entry], verdict: &mut Verdict) {
    let mut submits: BTreeMap<u64, Submit<'_>> = BTreeMap::new();
    let mut stored: BTreeMap<&str, &Shown> = BTreeMap::new();
    let mut endings: BTreeMap<(&str, u32), Ending<'_>> = BTreeMap::new();
    let mut retried: BTreeMap<&str, u32> = BTreeMap::new();
    for entry in history {
        match &entry.event {
            Event::Submits { number } => drop(submits.entry(*number).or_default()),
            Event::Accepted { number, job_id } => drop(submits.entry(*number).or_default().ids.insert(job_id)),
            Event::Refused { number, .. } => submits.entry(*number).or_default().is_refused = true,
            Event::Retried { job_id, run } => drop(retried.insert(job_id, *run)),
            Event::Seen { began_ms, job } => see(verdict, &mut endings, (*began_ms, entry.at_ms), job),
            Event::Missing { job_id, status } => {
                verdict
                    .break_promise(Promise::HonestStatus, format!("job {job_id} was accepted and answered {status}"));
            }
            Event::Stored(job) => {
                see(verdict, &mut endings, (entry.at_ms, entry.at_ms), job);
                if stored.insert(&job.job_id, job).is_some() {
                    verdict.break_promise(Promise::OneOutcome, format!("job {} is listed twice", job.job_id));
                }
            }
            _ => {}
        }
    }
    accepted_are_there(verdict, &submits, &stored);
    nobody_is_unexpected(verdict, &submits, &stored);
    for (job_id, run) in retried {
        if stored.get(job_id).is_some_and(|job| job.run < run) {
            let detail = format!("run {run} of job {job_id} was accepted and is not there");
            verdict.break_promise(Promise::NothingLost, detail);
        }
    }
}

/// An answer binds what is asked after it; answers may come in another order than they were read in.
fn see<'a>(
    verdict: &mut Verdict,
    endings: &mut BTreeMap<(&'a str, u32), Ending<'a>>,
    (began_ms, told_ms): (u64, u64),
    job: &'a Shown,
) {
    let is_over = job.status.is_terminal();
    match endings.get(&(job.job_id.as_str(), job.run)) {
        Some(ending) => {
            let same = (ending.shown.status, &ending.shown.outcome) == (job.status, &job.outcome);
            if !same && (is_over || began_ms > ending.told_ms) {
                verdict.counts.outcomes_twice += 1;
                let (id, run, before) = (&job.job_id, job.run, ending.shown);
                let detail = format!(
                    "job {id} run {run} was told as [{:?} {}], then as [{:?} {}]",
                    before.status, before.outcome, job.status, job.outcome
                );
                verdict.break_promise(Promise::OneOutcome, detail);
            }
        }
        None if is_over => drop(endings.insert((&job.job_id, job.run), Ending { shown: job, told_ms })),
        None => {}
    }
    let later = endings.range((job.job_id.as_str(), job.run + 1)..).next();
    if let Some(((id, run), ending)) = later
        && *id == job.job_id
        && began_ms > ending.told_ms
    {
        let detail = format!("job {id} was shown in run {}, after run {run} had been told", job.run);
        verdict.break_promise(Promise::HonestStatus, detail);
    }
}

fn accepted_are_there(verdict: &mut Verdict, submits: &BTreeMap<u64, Submit<'_>>, stored: &BTreeMap<&str, &Shown>) {
    for (number, submit) in submits {
        verdict.counts.submits += 1;
        if submit.ids.is_empty() {
            if submit.is_refused { verdict.counts.refused += 1 } else { verdict.counts.open += 1 }
        }
        if submit.ids.len() > 1 {
            let detail = format!("submit {number} was accepted as several jobs: {:?}", submit.ids);
            verdict.break_promise(Promise::HonestStatus, detail);
        }
        for id in &submit.ids {
            verdict.counts.accepted += 1;
            match stored.get(id) {
                None => {
                    verdict.counts.lost += 1;
                    let detail = format!("job {id} (submit {number}) was accepted and is not there");
                    verdict.break_promise(Promise::NothingLost, detail);
                }
                Some(job) if job.status.is_terminal() => verdict.counts.terminal += 1,
                Some(job) => {
                    verdict.counts.unfinished += 1;
                    let detail = format!("job {id} ({}) has not ended: it is {:?}", job.task, job.status);
                    verdict.break_promise(Promise::NothingLost, detail);
                }
            }
        }
    }
}

/// Each task name ends in the number of its submit, which explains one job at most, and none if it was refused.
fn nobody_is_unexpected(verdict: &mut Verdict, submits: &BTreeMap<u64, Submit<'_>>, stored: &BTreeMap<&str, &Shown>) {
    let mut explained = BTreeSet::new();
    for (id, job) in stored {
        let number = job.task.rsplit('-').next().and_then(|number| number.parse::<u64>().ok());
        let submit = number.and_then(|number| submits.get(&number).map(|submit| (number, submit)));
        let why = match submit {
            None => "nobody submitted it",
            Some((_, submit)) if submit.is_refused && submit.ids.is_empty() => "its submit was refused",
            Some((number, _)) if !explained.insert(number) => "its submit made another job already",
            Some((_, submit)) if !submit.ids.is_empty() && !submit.ids.contains(id) => "its submit was told another id",
            Some(_) => continue,
        };
        verdict.counts.unexpected += 1;
        verdict.break_promise(Promise::HonestStatus, format!("job {id} ({}) is unexpected: {why}", job.task));
    }
}
