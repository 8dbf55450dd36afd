//! What became of bells, until the store has been told. Pure: time is an argument.

use chassis::broker::Verdict;
use protocol::store_api::{BellFates, BellId};
use tokio::time::{Duration, Instant};

/// That a bell was sent is a hint, so it waits for company this long.
pub(super) const HINT_DELAY: Duration = Duration::from_millis(100);
/// Bells in one report, and hints that wait before they stop waiting for company.
const REPORT_BELLS: usize = 500;
/// Most bells of either fate that are remembered. A forgotten one is rung by the store's own dispatcher, only later.
const REMEMBERED_MAX: usize = 20_000;

#[derive(Debug, Default)]
pub(super) struct Fates {
    sent: Vec<BellId>,
    ring_again: Vec<BellId>,
    /// When the oldest hint was noted.
    hinted_at: Option<Instant>,
}

impl Fates {
    pub(super) fn note(&mut self, bell: BellId, verdict: Verdict, now: Instant) {
        if verdict == Verdict::Sent {
            push_bounded(&mut self.sent, bell);
            self.hinted_at.get_or_insert(now);
        } else {
            push_bounded(&mut self.ring_again, bell);
        }
    }

    /// When the next report is due; `None` while there is nothing to tell.
    pub(super) fn due_at(&self, now: Instant) -> Option<Instant> {
        if !self.ring_again.is_empty() || self.sent.len() >= REPORT_BELLS {
            return Some(now);
        }
        self.hinted_at.map(|hinted_at| hinted_at + HINT_DELAY)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.ring_again.is_empty()
    }

    /// Takes the next report's bells.
    pub(super) fn take(&mut self, now: Instant) -> Option<BellFates> {
        let again = self.ring_again.len().min(REPORT_BELLS);
        let sent = self.sent.len().min(REPORT_BELLS);
        if again + sent == 0 {
            return None;
        }
        let fates =
            BellFates { sent: self.sent.drain(..sent).collect(), ring_again: self.ring_again.drain(..again).collect() };
        self.hinted_at = (!self.sent.is_empty()).then_some(now);
        Some(fates)
    }

    /// A report did not come through: what must be rung again is kept; hints are not worth it.
    pub(super) fn give_back(&mut self, fates: BellFates) {
        for bell in fates.ring_again {
            push_bounded(&mut self.ring_again, bell);
        }
    }
}

fn push_bounded(bells: &mut Vec<BellId>, bell: BellId) {
    if bells.len() < REMEMBERED_MAX {
        bells.push(bell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::{Dispatch, JobId};

    fn bell(number: u64) -> BellId {
        BellId { job_id: JobId(uuid::Uuid::nil()), dispatch: Dispatch(number) }
    }

    #[test]
    fn hints_wait_for_company_and_failures_do_not() {
        let now = Instant::now();
        let mut fates = Fates::default();
        assert_eq!((fates.due_at(now), fates.take(now).is_none()), (None, true));
        fates.note(bell(1), Verdict::Sent, now);
        fates.note(bell(2), Verdict::Sent, now + HINT_DELAY / 2);
        assert_eq!(fates.due_at(now), Some(now + HINT_DELAY));
        for verdict in [Verdict::Unroutable, Verdict::Rejected, Verdict::Unknown, Verdict::Busy] {
            fates.note(bell(3), verdict, now);
        }
        assert_eq!(fates.due_at(now), Some(now));
        let report = fates.take(now).expect("a report");
        assert_eq!((report.sent.len(), report.ring_again.len()), (2, 4));
        assert_eq!(fates.due_at(now), None);
        fates.give_back(report);
        let again = fates.take(now).expect("a report");
        assert_eq!((again.sent.len(), again.ring_again.len()), (0, 4));
    }

    #[test]
    fn reports_and_memory_are_bounded() {
        let now = Instant::now();
        let mut fates = Fates::default();
        for number in 0..30_000 {
            fates.note(bell(number), Verdict::Busy, now);
            fates.note(bell(number), Verdict::Sent, now);
        }
        let mut reported = 0;
        while let Some(report) = fates.take(now) {
            assert!(report.sent.len() <= REPORT_BELLS && report.ring_again.len() <= REPORT_BELLS);
            reported += report.sent.len() + report.ring_again.len();
        }
        assert_eq!(reported, 2 * REMEMBERED_MAX);
    }
}
