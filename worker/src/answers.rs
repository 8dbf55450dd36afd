//! What follows from the store's answers to a claim and to an outcome. Pure.

use protocol::job::{ClaimRefusal, Settled};
use protocol::store_api::{Claimed, PulledJob, Reply};

use crate::store::StoreError;

/// After a claim.
#[derive(Debug)]
pub(crate) enum AfterClaim {
    Run(Box<Claimed>),
    /// The bell is of no use any more; the word says why.
    Ack(&'static str),
    /// Not ours, or a defect: put aside with this reason, counted under the word.
    Park(&'static str, String),
    /// The store does not know the session.
    Register,
    /// The same claim again, after a while.
    Repeat {
        reason: String,
        may_have_been_applied: bool,
    },
    /// It was won so long ago that little of its lease is left: the same claim again at once, which renews it.
    Renew,
}

/// A claim that took `took_ms` for a lease of `lease_ms`; the bell's job was created `age_ms` ago.
pub(crate) fn after_claim(
    answer: Result<Reply, StoreError>,
    took_ms: u64,
    age_ms: i64,
    retention_ms: i64,
) -> AfterClaim {
    match answer {
        Ok(Reply::Claimed(claimed)) if took_ms > claimed.lease_ms / 2 => AfterClaim::Renew,
        Ok(Reply::Claimed(claimed)) => AfterClaim::Run(claimed),
        Ok(Reply::ClaimRefused(refusal)) => match refusal {
            ClaimRefusal::StaleBell => AfterClaim::Ack("stale-bell"),
            ClaimRefusal::NotQueued => AfterClaim::Ack("not-queued"),
            ClaimRefusal::QueuePaused => AfterClaim::Ack("queue-paused"),
            ClaimRefusal::UnknownTask => AfterClaim::Ack("unknown-task"),
            // The store forgets ended jobs; their bells may outlive them.
            ClaimRefusal::UnknownJob if age_ms > retention_ms => AfterClaim::Ack("forgotten-job"),
            ClaimRefusal::UnknownJob => {
                AfterClaim::Park("unknown-job", "unknown-job: the store has no such job".to_owned())
            }
        },
        Ok(other) => {
            let reason = format!("an answer of the wrong kind: {}", other.name());
            AfterClaim::Repeat { reason, may_have_been_applied: true }
        }
        Err(StoreError::UnknownSession) => AfterClaim::Register,
        Err(StoreError::Away { reason, may_have_been_applied }) => AfterClaim::Repeat { reason, may_have_been_applied },
        Err(StoreError::Refused(problem)) => AfterClaim::Park("claim-refused", format!("claim-refused: {problem}")),
    }
}

/// After an outcome or a release.
#[derive(Debug)]
pub(crate) enum AfterWord {
    /// With the job that was taken with it, if one was asked for.
    Recorded(Option<Box<PulledJob>>),
    /// The job has another owner, or has ended.
    Refused,
    Repeat(String),
    /// The store does not take this outcome at all.
    Unacceptable(String),
}

pub(crate) fn after_word(answer: Result<Reply, StoreError>) -> AfterWord {
    match answer {
        Ok(Reply::Settled { settled: Settled::Recorded | Settled::AlreadyRecorded, next, .. }) => {
            AfterWord::Recorded(next)
        }
        Ok(Reply::Settled { settled: Settled::Refused, .. }) => AfterWord::Refused,
        Ok(other) => AfterWord::Repeat(format!("an answer of the wrong kind: {}", other.name())),
        Err(StoreError::Refused(problem)) => AfterWord::Unacceptable(problem.to_string()),
        Err(error @ (StoreError::Away { .. } | StoreError::UnknownSession)) => AfterWord::Repeat(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::Fence;
    use protocol::problem::Kind;

    fn claimed() -> Result<Reply, StoreError> {
        Ok(Reply::Claimed(Box::new(Claimed {
            job_id: None,
            tenant: protocol::tenant::Tenant::default(),
            fence: Fence(1),
            task: "noop".to_owned(),
            queue: "default".to_owned(),
            run: 1,
            attempt: 1,
            max_attempts: 5,
            lease_ms: 15_000,
            timeout_ms: None,
            payload: None,
            trace: None,
            cancel_requested: false,
            more: false,
        })))
    }

    fn away(may_have_been_applied: bool) -> Result<Reply, StoreError> {
        Err(StoreError::Away { reason: "gone".to_owned(), may_have_been_applied })
    }

    #[test]
    fn each_answer_to_a_claim_has_its_consequence() {
        let check = |answer, took_ms: u64, age_ms: i64, expected: &str| {
            let after = format!("{:?}", after_claim(answer, took_ms, age_ms, 1_000));
            assert!(after.starts_with(expected), "{after} instead of {expected}");
        };
        let refused = |refusal| Ok(Reply::ClaimRefused(refusal));
        check(claimed(), 7_500, 0, "Run");
        check(claimed(), 7_501, 0, "Renew");
        check(refused(ClaimRefusal::StaleBell), 0, 0, "Ack(\"stale-bell\")");
        check(refused(ClaimRefusal::NotQueued), 0, 0, "Ack(\"not-queued\")");
        check(refused(ClaimRefusal::QueuePaused), 0, 0, "Ack(\"queue-paused\")");
        check(refused(ClaimRefusal::UnknownTask), 0, 0, "Ack(\"unknown-task\")");
        check(refused(ClaimRefusal::UnknownJob), 0, 1_001, "Ack(\"forgotten-job\")");
        check(refused(ClaimRefusal::UnknownJob), 0, 1_000, "Park(\"unknown-job\"");
        check(Err(StoreError::UnknownSession), 0, 0, "Register");
        check(away(true), 0, 0, "Repeat { reason: \"gone\", may_have_been_applied: true }");
        check(Err(StoreError::Refused(Box::new(Kind::Invalid.problem()))), 0, 0, "Park(\"claim-refused\"");
        check(Ok(Reply::Done), 0, 0, "Repeat { reason: \"an answer of the wrong kind: done\"");
    }

    #[test]
    fn outcome_is_repeated_until_it_is_recorded_or_refused() {
        let check = |answer, expected: &str| assert_eq!(format!("{:?}", after_word(answer)), expected);
        let settled = |settled| Ok(Reply::Settled { settled, status: None, next: None });
        check(settled(Settled::Recorded), "Recorded(None)");
        check(settled(Settled::AlreadyRecorded), "Recorded(None)");
        check(settled(Settled::Refused), "Refused");
        check(away(true), "Repeat(\"gone\")");
        let refusal = Kind::PayloadTooLarge.problem();
        let expected = format!("Unacceptable({:?})", refusal.to_string());
        check(Err(StoreError::Refused(Box::new(refusal))), &expected);
    }
}
