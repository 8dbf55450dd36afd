//! The attempts that a guard watches, with their process groups, and until when each may run. Pure: times are `chassis::clock::now_ms`.

use std::collections::{BTreeMap, BTreeSet};

use protocol::lease_api::LeaseId;
use protocol::store_api::JobFence;

/// An attempt is forgotten when this many looks in a row found nothing of it: what is being started while one looks is seen by the next.
const CLEAN_LOOKS: u32 = 2;

#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    held: BTreeMap<JobFence, Held>,
    /// What has ended, with the looks that found nothing of it.
    ended: BTreeMap<JobFence, u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    group: i32,
    until_ms: u64,
}

/// What the worker says, a line each: `hold ATTEMPT GROUP UNTIL_MS` or `done ATTEMPT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Hold { attempt: JobFence, group: i32, until_ms: u64 },
    Done { attempt: JobFence },
}

impl Order {
    /// `None`: not an order. Group 1 and below are never meant: a signal to them would go far beyond.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (verb, LeaseId(attempt)) = (words.next()?, words.next()?.parse().ok()?);
        match verb {
            "hold" => {
                let group = words.next()?.parse::<i32>().ok().filter(|group| *group > 1)?;
                Some(Self::Hold { attempt, group, until_ms: words.next()?.parse().ok()? })
            }
            "done" => Some(Self::Done { attempt }),
            _ => None,
        }
    }

    pub(super) fn line(self) -> String {
        match self {
            Self::Hold { attempt, group, until_ms } => format!("hold {} {group} {until_ms}\n", LeaseId(attempt)),
            Self::Done { attempt } => format!("done {}\n", LeaseId(attempt)),
        }
    }
}

impl Book {
    /// Says which attempt is watched from now on that was not before.
    pub(super) fn take_order(&mut self, order: Order) -> Option<JobFence> {
        match order {
            Order::Hold { attempt, group, until_ms } => {
                self.held.insert(attempt, Held { group, until_ms }).is_none().then_some(attempt)
            }
            Order::Done { attempt } => {
                self.held.remove(&attempt);
                self.ended.insert(attempt, 0);
                None
            }
        }
    }

    pub(super) fn is_held(&self, attempt: JobFence) -> bool {
        self.held.contains_key(&attempt)
    }

    /// The groups of the attempts whose leases have ended.
    pub(super) fn end_overdue(&mut self, now_ms: u64) -> Vec<i32> {
        let overdue = self.held.extract_if(.., |_, held| held.until_ms <= now_ms);
        let overdue: Vec<_> = overdue.collect();
        self.ended.extend(overdue.iter().map(|(attempt, _)| (*attempt, 0)));
        overdue.into_iter().map(|(_, held)| held.group).collect()
    }

    pub(super) fn next_end_ms(&self) -> Option<u64> {
        self.held.values().map(|held| held.until_ms).min()
    }

    /// The attempts of which nothing may be left.
    pub(super) fn ended(&self) -> BTreeSet<JobFence> {
        self.ended.keys().copied().collect()
    }

    /// A look at `looked_for` found something of these.
    pub(super) fn looked(&mut self, looked_for: &BTreeSet<JobFence>, found: &BTreeSet<JobFence>) {
        self.ended.retain(|attempt, clean| {
            if looked_for.contains(attempt) {
                *clean = if found.contains(attempt) { 0 } else { *clean + 1 };
            }
            *clean < CLEAN_LOOKS
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::{Fence, JobId};

    fn attempt(fence: u64) -> JobFence {
        JobFence { job_id: JobId(uuid::Uuid::nil()), fence: Fence(fence) }
    }

    fn hold(fence: u64, until_ms: u64) -> Order {
        Order::Hold { attempt: attempt(fence), group: 100 + i32::try_from(fence).expect("small"), until_ms }
    }

    #[test]
    fn orders_survive_their_line_and_others_are_refused() {
        for order in [hold(7, 99), Order::Done { attempt: attempt(7) }] {
            assert_eq!(Order::parse(&order.line()), Some(order));
        }
        let id = LeaseId(attempt(7)).to_string();
        for bad in ["", "hold", "done", "done 7", &format!("hold {id}"), &format!("hold {id} 7"), &format!("kill {id}")]
        {
            assert_eq!(Order::parse(bad), None, "{bad:?}");
        }
        for group in ["1", "0", "-7", "x"] {
            assert_eq!(Order::parse(&format!("hold {id} {group} 9")), None, "{group:?}");
        }
    }

    #[test]
    fn attempt_is_overdue_at_the_end_of_its_latest_lease() {
        let mut book = Book::default();
        assert_eq!(book.take_order(hold(7, 100)), Some(attempt(7)));
        book.take_order(hold(8, 150));
        assert_eq!(book.take_order(hold(7, 200)), None, "known already");
        assert_eq!((book.next_end_ms(), book.end_overdue(149)), (Some(150), vec![]));
        assert_eq!(book.end_overdue(150), [108]);
        book.take_order(Order::Done { attempt: attempt(7) });
        assert_eq!((book.next_end_ms(), book.end_overdue(u64::MAX)), (None, vec![]));
    }

    #[test]
    fn what_has_ended_is_looked_for_until_two_looks_found_nothing() {
        let mut book = Book::default();
        book.take_order(hold(7, 100));
        book.end_overdue(100);
        let both: BTreeSet<_> = [attempt(7)].into();
        let nothing = BTreeSet::new();
        book.looked(&both, &nothing);
        book.looked(&both, &both);
        book.looked(&both, &nothing);
        assert_eq!(book.ended(), both);
        book.looked(&nothing, &nothing);
        assert_eq!(book.ended(), both, "not looked for");
        book.looked(&both, &nothing);
        assert_eq!(book.ended(), nothing);
    }
}
