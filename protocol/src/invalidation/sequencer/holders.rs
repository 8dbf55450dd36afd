//! Who holds a near lease, and up to which entry all of them have either applied it or ended.
//!
//! The deadline of an entry for a holder is the expiry that was known when the entry was issued: the last answer before it, not a
//! later one, because every later answer carries the entry. Deadlines and reports grow with the entries, so entries close in order
//! and one number per holder says how far it has come.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::{HolderId, Seq};

/// Most answers remembered per holder; beyond it the oldest two become one, with the later expiry (a fence may wait longer, never
/// shorter).
const ANSWERS_MAX: usize = 64;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Holders {
    by_id: BTreeMap<HolderId, Holder>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Holder {
    applied: Seq,
    /// What was answered, oldest first; both numbers grow.
    answers: VecDeque<Answered>,
}

/// Everything up to `through` went into this answer or earlier ones; the lease that it gave ends at `until_ms` at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Answered {
    through: Seq,
    until_ms: u64,
}

impl Holders {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn knows(&self, holder: HolderId) -> bool {
        self.by_id.contains_key(&holder)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = HolderId> {
        self.by_id.keys().copied()
    }

    /// The holder says what it has applied. One that was never answered holds nothing and is not noted.
    pub(super) fn report(&mut self, holder: HolderId, applied: Seq) {
        if let Some(holder) = self.by_id.get_mut(&holder) {
            holder.applied = holder.applied.max(applied);
            while holder.answers.get(1).is_some_and(|second| second.through <= holder.applied) {
                holder.answers.pop_front();
            }
        }
    }

    pub(super) fn answered(&mut self, holder: HolderId, through: Seq, until_ms: u64) {
        let answers = &mut self.by_id.entry(holder).or_default().answers;
        let until_ms = answers.back().map_or(until_ms, |last| last.until_ms.max(until_ms));
        match answers.back_mut() {
            Some(last) if last.through == through => last.until_ms = until_ms,
            _ => answers.push_back(Answered { through, until_ms }),
        }
        if answers.len() > ANSWERS_MAX
            && let Some(oldest) = answers.pop_front()
            && let Some(next) = answers.front_mut()
        {
            next.through = oldest.through;
        }
    }

    pub(super) fn forget(&mut self, holder: HolderId) {
        self.by_id.remove(&holder);
    }

    /// Up to where every holder has applied or ended; `None`: nobody holds anything.
    pub(super) fn passed(&mut self, now_ms: u64, margin_ms: u64) -> Option<Seq> {
        self.forget_ended(now_ms, margin_ms);
        self.by_id.values().filter_map(Holder::passed).min()
    }

    /// Forgets the answers whose leases have ended, which decide nothing any more.
    pub(super) fn forget_ended(&mut self, now_ms: u64, margin_ms: u64) {
        self.by_id.retain(|_, holder| {
            while holder.answers.front().is_some_and(|answer| answer.until_ms + margin_ms <= now_ms) {
                holder.answers.pop_front();
            }
            !holder.answers.is_empty()
        });
    }

    /// The next instant at which time alone may let an entry after `passed` close.
    pub(super) fn next_end_ms(&self, now_ms: u64, margin_ms: u64) -> Option<u64> {
        let ends = self.by_id.values().flat_map(|holder| &holder.answers).map(|answer| answer.until_ms + margin_ms);
        ends.filter(|end_ms| *end_ms > now_ms).min()
    }
}

impl Holder {
    /// The oldest answer whose lease has not ended blocks what was issued after it, unless it is applied.
    fn passed(&self) -> Option<Seq> {
        self.answers.front().map(|oldest| oldest.through.max(self.applied))
    }
}
