//! Whose job starts next, of tenants that wait in one queue: start-time fair queuing (Goyal, Vin, Cheng, SIGCOMM 1996), each start being one
//! unit of work. Pure.
//!
//! While a tenant has jobs that may start, every other one gets at most (its share / the tenant's share) + 1 starts between two of the
//! tenant's, and before its first. Time in which a tenant had nothing to start earns it nothing.

use std::collections::BTreeMap;

/// What a start costs a tenant whose share is 1.
const COST: u64 = 1 << 20;

/// Who got how much, in virtual time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// The start tag of whom it was the turn last.
    now: u64,
    /// Where the last start of each tenant ends. Those that ended before `now` are not kept.
    ends: BTreeMap<i64, u64>,
}

/// A tenant that has a job which may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub tenant: i64,
    pub share: u32,
    /// Its jobs that are offered to workers already, and so as good as started.
    pub offered: u64,
}

impl Shares {
    /// Whose turn it is.
    pub fn turn(&mut self, standing: impl IntoIterator<Item = Standing>) -> Option<i64> {
        let tags = standing.into_iter().map(|one| {
            let end = self.ends.get(&one.tenant).copied().unwrap_or(0);
            let start = self.now.max(end);
            // Of two that are level the one that has waited longer.
            (start.saturating_add(cost(one.share).saturating_mul(one.offered)), end, one.tenant, start)
        });
        let tags: Vec<(u64, u64, i64, u64)> = tags.collect();
        let (_, _, tenant, _) = tags.iter().min()?;
        // Whoever is passed over because it is offered enough keeps its place.
        let first = tags.iter().map(|(_, _, _, start)| *start).min()?;
        self.advance(first);
        Some(*tenant)
    }

    /// A job of the tenant has started; `alone`: no other tenant has one that could.
    pub fn started(&mut self, tenant: i64, share: u32, alone: bool) {
        let start = self.now.max(self.ends.get(&tenant).copied().unwrap_or(0));
        self.ends.insert(tenant, start.saturating_add(cost(share)));
        if alone {
            self.advance(start);
        }
    }

    fn advance(&mut self, start: u64) {
        if start > self.now {
            self.now = start;
            self.ends.retain(|_, end| *end > start);
        }
    }
}

fn cost(share: u32) -> u64 {
    COST / u64::from(share.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sequence of numbers that looks random (Knuth's MMIX generator).
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).expect("31 bits") % bound
        }
    }

    struct Tenant {
        share: u32,
        waiting: usize,
        /// What others got since it last started, or began to wait.
        others: BTreeMap<i64, u32>,
    }

    fn standing(tenants: &BTreeMap<i64, Tenant>) -> Vec<Standing> {
        let waits = tenants.iter().filter(|(_, tenant)| tenant.waiting > 0);
        waits.map(|(number, tenant)| Standing { tenant: *number, share: tenant.share, offered: 0 }).collect()
    }

    #[test]
    fn nobody_with_work_waits_longer_than_the_others_shares() {
        for seed in 0..200 {
            let mut dice = Dice(seed);
            let mut shares = Shares::default();
            let mut tenants: BTreeMap<i64, Tenant> = (0..2 + i64::try_from(dice.below(6)).expect("few"))
                .map(|number| {
                    (number, Tenant { share: [1, 1, 2, 5][dice.below(4)], waiting: 0, others: BTreeMap::new() })
                })
                .collect();
            for _ in 0..2_000 {
                if dice.below(3) == 0 {
                    let number = i64::try_from(dice.below(tenants.len())).expect("few");
                    let burst = [1, 1, 3, 100][dice.below(4)];
                    tenants.get_mut(&number).expect("there").waiting += burst;
                }
                let waits = standing(&tenants);
                let Some(turn) = shares.turn(waits.iter().copied()) else { continue };
                let share = tenants[&turn].share;
                shares.started(turn, share, waits.len() == 1);
                for (number, tenant) in &mut tenants {
                    if *number == turn {
                        tenant.waiting -= 1;
                        tenant.others.clear();
                    } else if tenant.waiting > 0 {
                        let got = tenant.others.entry(turn).or_default();
                        *got += 1;
                        let most = share.div_ceil(tenant.share) + 1;
                        assert!(*got <= most, "seed {seed}: {turn} got {got} starts while {number} waited");
                    }
                }
            }
        }
    }

    #[test]
    fn starts_are_divided_by_shares() {
        let mut shares = Shares::default();
        let all = [(1, 1), (2, 2), (3, 5)].map(|(tenant, share)| Standing { tenant, share, offered: 0 });
        let mut got = BTreeMap::new();
        for _ in 0..800 {
            let turn = shares.turn(all).expect("somebody");
            let share = all.iter().find(|one| one.tenant == turn).expect("one of them").share;
            shares.started(turn, share, false);
            *got.entry(turn).or_insert(0) += 1;
        }
        assert_eq!(got, BTreeMap::from([(1, 100), (2, 200), (3, 500)]));
    }

    #[test]
    fn what_somebody_had_alone_is_not_held_against_them() {
        let mut shares = Shares::default();
        for _ in 0..100_000 {
            shares.started(1, 1, true);
        }
        let both = [1, 2].map(|tenant| Standing { tenant, share: 1, offered: 0 });
        let mut turns = Vec::new();
        for _ in 0..4 {
            let turn = shares.turn(both).expect("somebody");
            shares.started(turn, 1, false);
            turns.push(turn);
        }
        assert_eq!(turns[0], 2);
        assert_eq!(turns.iter().filter(|turn| **turn == 1).count(), 2, "{turns:?}");
        assert!(shares.ends.len() <= 2, "what has passed is forgotten: {shares:?}");
    }

    #[test]
    fn what_is_offered_counts() {
        let mut shares = Shares::default();
        let standing =
            |offered| [Standing { tenant: 1, share: 1, offered }, Standing { tenant: 2, share: 1, offered: 1 }];
        assert_eq!(shares.turn(standing(0)), Some(1));
        assert_eq!(shares.turn(standing(2)), Some(2));
    }
}
