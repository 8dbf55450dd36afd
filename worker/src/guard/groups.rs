//! The process groups that a guard watches, and until when each may run. Pure: times are `chassis::clock::now_ms`.

use std::collections::BTreeMap;

/// Process groups by id, with the ends of their leases.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    until_ms: BTreeMap<i32, u64>,
}

/// What the worker says, a line each: `hold GROUP UNTIL_MS` or `done GROUP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Hold { group: i32, until_ms: u64 },
    Done { group: i32 },
}

impl Order {
    /// `None`: not an order. Group 1 and below are never meant: a signal to them would go far beyond.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (verb, group) = (words.next()?, words.next()?.parse::<i32>().ok().filter(|group| *group > 1)?);
        match verb {
            "hold" => Some(Self::Hold { group, until_ms: words.next()?.parse().ok()? }),
            "done" => Some(Self::Done { group }),
            _ => None,
        }
    }

    pub(super) fn line(self) -> String {
        match self {
            Self::Hold { group, until_ms } => format!("hold {group} {until_ms}\n"),
            Self::Done { group } => format!("done {group}\n"),
        }
    }
}

impl Groups {
    pub(super) fn take_order(&mut self, order: Order) {
        match order {
            Order::Hold { group, until_ms } => {
                self.until_ms.insert(group, until_ms);
            }
            Order::Done { group } => {
                self.until_ms.remove(&group);
            }
        }
    }

    /// The groups whose leases have ended; they are forgotten.
    pub(super) fn take_overdue(&mut self, now_ms: u64) -> Vec<i32> {
        let overdue: Vec<_> =
            self.until_ms.iter().filter(|(_, until_ms)| **until_ms <= now_ms).map(|(group, _)| *group).collect();
        self.until_ms.retain(|_, until_ms| *until_ms > now_ms);
        overdue
    }

    pub(super) fn next_end_ms(&self) -> Option<u64> {
        self.until_ms.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_survive_their_line_and_others_are_refused() {
        for order in [Order::Hold { group: 7, until_ms: 99 }, Order::Done { group: 7 }] {
            assert_eq!(Order::parse(&order.line()), Some(order));
        }
        for bad in ["", "hold", "hold 7", "hold x 9", "hold 1 9", "hold -7 9", "done 0", "kill 7", "done"] {
            assert_eq!(Order::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn group_is_overdue_at_the_end_of_its_latest_lease() {
        let mut groups = Groups::default();
        groups.take_order(Order::Hold { group: 7, until_ms: 100 });
        groups.take_order(Order::Hold { group: 8, until_ms: 150 });
        groups.take_order(Order::Hold { group: 7, until_ms: 200 });
        assert_eq!((groups.next_end_ms(), groups.take_overdue(149)), (Some(150), vec![]));
        assert_eq!(groups.take_overdue(150), [8]);
        groups.take_order(Order::Done { group: 7 });
        assert_eq!((groups.next_end_ms(), groups.take_overdue(u64::MAX)), (None, vec![]));
    }
}
