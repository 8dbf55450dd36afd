//! Who ran a job when, by what the handlers themselves wrote down. Pure.

use std::collections::BTreeMap;

use protocol::api::Status;

use super::{Promise, Verdict};
use crate::chaos::handler::Outcome;
use crate::chaos::history::{Entry, Event, Phase, Shown, Sign};

/// One handler: from its start to the last sign of life.
#[derive(Clone, Copy, Debug)]
struct Life {
    run: u32,
    fence: u64,
    from_ms: u64,
    until_ms: u64,
    has_ended: bool,
}

pub(super) fn judge(history: &[Entry], verdict: &mut Verdict) {
    let lives = lives(history);
    for (job_id, lives) in &lives {
        verdict.counts.handlers_started += lives.len() as u64;
        overlaps(verdict, job_id, lives);
    }
    for entry in history {
        match &entry.event {
            Event::Stored(job) => result_is_of_a_handler_that_ended(verdict, job, lives.get(job.job_id.as_str())),
            Event::Seen { job, .. } if job.status.is_terminal() => {
                nobody_starts_after(verdict, job, entry.at_ms, lives.get(job.job_id.as_str()));
            }
            _ => {}
        }
    }
    broker_faults_start_nothing_twice(verdict, history, &lives);
}

/// By job, in the order of their starts.
fn lives(history: &[Entry]) -> BTreeMap<&str, Vec<Life>> {
    let mut lives: BTreeMap<&str, Vec<Life>> = BTreeMap::new();
    for Entry { at_ms, event } in history {
        let Event::Handler { job_id, run, fence, sign } = event else { continue };
        let of_job = lives.entry(job_id).or_default();
        let known = of_job.iter_mut().find(|life| (life.run, life.fence) == (*run, *fence) && *sign != Sign::Starts);
        match known {
            Some(life) => {
                life.until_ms = life.until_ms.max(*at_ms);
                life.has_ended |= *sign == Sign::Ends;
            }
            None => of_job.push(Life { run: *run, fence: *fence, from_ms: *at_ms, until_ms: *at_ms, has_ended: false }),
        }
    }
    lives
}

fn overlaps(verdict: &mut Verdict, job_id: &str, lives: &[Life]) {
    for (place, life) in lives.iter().enumerate() {
        if let Some(other) = lives[..place].iter().find(|before| before.until_ms > life.from_ms) {
            verdict.counts.overlapping_owners += 1;
            let detail = format!(
                "job {job_id}: fence {} started at {}, fence {} still lived at {} ({} ms later)",
                life.fence,
                life.from_ms,
                other.fence,
                other.until_ms,
                other.until_ms - life.from_ms
            );
            verdict.break_promise(Promise::OneOwner, detail);
        }
        if lives[..place].iter().any(|before| before.fence >= life.fence) {
            let detail = format!("job {job_id}: fence {} did not grow", life.fence);
            verdict.break_promise(Promise::OneOwner, detail);
        }
    }
}

fn result_is_of_a_handler_that_ended(verdict: &mut Verdict, job: &Shown, lives: Option<&Vec<Life>>) {
    let (Status::Succeeded, Ok(outcome)) = (job.status, serde_json::from_str::<Outcome>(&job.outcome)) else { return };
    let ended = |life: &Life| life.fence == outcome.fence && life.run == job.run && life.has_ended;
    if !lives.is_some_and(|lives| lives.iter().any(ended)) {
        let detail = format!("job {} shows a result of fence {}, which never ended", job.job_id, outcome.fence);
        verdict.break_promise(Promise::OneOutcome, detail);
    }
}

/// A handler of a run that had been told to be over.
fn nobody_starts_after(verdict: &mut Verdict, job: &Shown, told_ms: u64, lives: Option<&Vec<Life>>) {
    let late = |life: &&Life| life.run == job.run && life.from_ms > told_ms;
    if let Some(life) = lives.and_then(|lives| lives.iter().find(late)) {
        let detail = format!(
            "job {} run {}: fence {} started {} ms after the run's end was told",
            job.job_id,
            job.run,
            life.fence,
            life.from_ms - told_ms
        );
        verdict.break_promise(Promise::OneOutcome, detail);
    }
}

/// Of faults that came alone: a handler that ran when the broker's fault began is its job's last of that run until the fault is over.
fn broker_faults_start_nothing_twice(verdict: &mut Verdict, history: &[Entry], lives: &BTreeMap<&str, Vec<Life>>) {
    let mut begun = None;
    for Entry { at_ms, event } in history {
        match event {
            Event::Fault { fault, phase: Phase::Begins, is_alone: true } => {
                begun = fault.spares_handlers().then_some((*fault, *at_ms));
            }
            Event::Recovered { .. } | Event::NotRecovered { .. } => {
                let Some((fault, from_ms)) = begun.take() else { continue };
                for (job_id, lives) in lives {
                    let running = lives.iter().find(|life| life.from_ms < from_ms && life.until_ms > from_ms);
                    let Some(running) = running else { continue };
                    let again = |life: &&Life| {
                        life.run == running.run
                            && life.fence > running.fence
                            && (from_ms..*at_ms).contains(&life.from_ms)
                    };
                    if let Some(again) = lives.iter().find(again) {
                        let (first, second) = (running.fence, again.fence);
                        let detail = format!(
                            "{fault}: job {job_id} ran under fence {first} and was started again under {second}"
                        );
                        verdict.break_promise(Promise::BrokerRestartsNothing, detail);
                    }
                }
            }
            _ => {}
        }
    }
}
