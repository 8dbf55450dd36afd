//! Whose job starts next, of those that wait in one queue: start-time fair queuing (Goyal, Vin, Cheng, SIGCOMM 1996), each start being one
//! unit of work. First among tenants by their shares, then among the lanes of the one whose turn it is, which have equal shares. Pure.
//!
//! While a tenant has jobs that may start, every other one gets at most (its share / the tenant's share) + 1 starts between two of the
//! tenant's, and before its first; so do the lanes of a tenant. Time in which somebody had nothing to start earns them nothing.

use std::collections::BTreeMap;

use super::Lane;

/// What a start costs somebody whose share is 1.
const COST: u64 = 1 << 20;

/// Who got how much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    tenants: Level,
    /// Among the lanes of tenants that have several.
    lanes: BTreeMap<i64, Level>,
}

/// A lane that has a job which may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub lane: Lane,
    /// The tenant's.
    pub share: u32,
    /// Its jobs that are offered to workers already, and so as good as started.
    pub offered: u64,
}

/// Whether nobody else has a job that could start instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alone {
    /// No other tenant.
    pub among_tenants: bool,
    /// No other lane of the tenant.
    pub in_tenant: bool,
}

impl Alone {
    /// For this lane, beside the others that have such jobs.
    pub fn beside(lane: Lane, others: impl Iterator<Item = Lane>) -> Self {
        let alone = Self { among_tenants: true, in_tenant: true };
        others.fold(alone, |alone, other| match other.tenant == lane.tenant {
            true => Self { in_tenant: false, ..alone },
            false => Self { among_tenants: false, ..alone },
        })
    }
}

impl Shares {
    /// Whose turn it is, of lanes in their order; `offered`: what all lanes of a tenant have offered, also those that may start nothing.
    pub fn turn(&mut self, standing: &[Standing], offered: impl Fn(i64) -> u64) -> Option<Lane> {
        let mut tenants = standing.chunk_by(|one, next| one.lane.tenant == next.lane.tenant);
        let claimants = tenants.clone().map(|lanes| {
            let Standing { lane, share, .. } = lanes[0];
            Claimant { id: lane.tenant, share, offered: offered(lane.tenant) }
        });
        let tenant = self.tenants.turn(claimants)?;
        let lanes = tenants.find(|lanes| lanes[0].lane.tenant == tenant)?;
        if let [only] = lanes {
            return Some(only.lane);
        }
        let claimants = lanes.iter().map(|one| Claimant { id: one.lane.key, share: 1, offered: one.offered });
        let key = self.lanes.entry(tenant).or_default().turn(claimants)?;
        Some(Lane { tenant, key })
    }

    /// A job of the lane has started.
    pub fn started(&mut self, lane: Lane, share: u32, alone: Alone) {
        self.tenants.started(lane.tenant, share, alone.among_tenants);
        if lane.is_of_a_key() || self.lanes.contains_key(&lane.tenant) {
            self.lanes.entry(lane.tenant).or_default().started(lane.key, 1, alone.in_tenant);
        }
    }
}

/// Those who share, in virtual time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Level {
    /// The start tag of whom it was the turn last.
    now: u64,
    /// Where the last start of each ends. Those that ended before `now` are not kept.
    ends: BTreeMap<i64, u64>,
}

/// Somebody who has a job which may start.
#[derive(Clone, Copy)]
struct Claimant {
    id: i64,
    share: u32,
    offered: u64,
}

impl Level {
    fn turn(&mut self, claimants: impl Iterator<Item = Claimant>) -> Option<i64> {
        let tags = claimants.map(|one| {
            let end = self.ends.get(&one.id).copied().unwrap_or(0);
            let start = self.now.max(end);
            // Of two that are level the one that has waited longer.
            (start.saturating_add(cost(one.share).saturating_mul(one.offered)), end, one.id, start)
        });
        let tags: Vec<(u64, u64, i64, u64)> = tags.collect();
        let (_, _, id, _) = tags.iter().min()?;
        // Whoever is passed over because it is offered enough keeps its place.
        let first = tags.iter().map(|(_, _, _, start)| *start).min()?;
        self.advance(first);
        Some(*id)
    }

    fn started(&mut self, id: i64, share: u32, alone: bool) {
        let start = self.now.max(self.ends.get(&id).copied().unwrap_or(0));
        self.ends.insert(id, start.saturating_add(cost(share)));
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

    fn nothing(_: i64) -> u64 {
        0
    }

    /// The tenant's own lane.
    fn alone(tenant: i64, share: u32) -> Standing {
        Standing { lane: Lane::of(tenant), share, offered: 0 }
    }

    fn among_tenants(alone: bool) -> Alone {
        Alone { among_tenants: alone, in_tenant: true }
    }

    struct Tenant {
        share: u32,
        waiting: usize,
        /// What others got since it last started, or began to wait.
        others: BTreeMap<i64, u32>,
    }

    fn standing(tenants: &BTreeMap<i64, Tenant>) -> Vec<Standing> {
        let waits = tenants.iter().filter(|(_, tenant)| tenant.waiting > 0);
        waits.map(|(number, tenant)| alone(*number, tenant.share)).collect()
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
                let Some(lane) = shares.turn(&waits, nothing) else { continue };
                let (turn, share) = (lane.tenant, tenants[&lane.tenant].share);
                shares.started(lane, share, among_tenants(waits.len() == 1));
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
        let all = [(1, 1), (2, 2), (3, 5)].map(|(tenant, share)| alone(tenant, share));
        let mut got = BTreeMap::new();
        for _ in 0..800 {
            let turn = shares.turn(&all, nothing).expect("somebody");
            let share = all.iter().find(|one| one.lane == turn).expect("one of them").share;
            shares.started(turn, share, among_tenants(false));
            *got.entry(turn.tenant).or_insert(0) += 1;
        }
        assert_eq!(got, BTreeMap::from([(1, 100), (2, 200), (3, 500)]));
    }

    #[test]
    fn what_somebody_had_alone_is_not_held_against_them() {
        let mut shares = Shares::default();
        for _ in 0..100_000 {
            shares.started(Lane::of(1), 1, among_tenants(true));
        }
        let both = [1, 2].map(|tenant| alone(tenant, 1));
        let mut turns = Vec::new();
        for _ in 0..4 {
            let turn = shares.turn(&both, nothing).expect("somebody");
            shares.started(turn, 1, among_tenants(false));
            turns.push(turn.tenant);
        }
        assert_eq!(turns[0], 2);
        assert_eq!(turns.iter().filter(|turn| **turn == 1).count(), 2, "{turns:?}");
        assert!(shares.tenants.ends.len() <= 2, "what has passed is forgotten: {shares:?}");
    }

    #[test]
    fn what_is_offered_counts() {
        let mut shares = Shares::default();
        let standing = [1, 2].map(|tenant| alone(tenant, 1));
        let offered = |first, second| move |tenant| if tenant == 1 { first } else { second };
        assert_eq!(shares.turn(&standing, offered(0, 1)), Some(Lane::of(1)));
        assert_eq!(shares.turn(&standing, offered(2, 1)), Some(Lane::of(2)));
    }

    /// However many lanes a tenant has, others get as much as if it had one; its lanes share what it gets.
    #[test]
    fn lanes_share_what_their_tenant_gets() {
        let mut shares = Shares::default();
        let lanes = [Lane::of(1), Lane { tenant: 1, key: 1 }, Lane { tenant: 1, key: 2 }, Lane::of(2)];
        let standing = lanes.map(|lane| Standing { lane, ..alone(lane.tenant, 1) });
        let mut got = BTreeMap::new();
        for _ in 0..600 {
            let turn = shares.turn(&standing, nothing).expect("somebody");
            shares.started(turn, 1, Alone::default());
            *got.entry(turn).or_insert(0) += 1;
        }
        assert_eq!(
            got.into_iter().collect::<Vec<_>>(),
            lanes.into_iter().zip([100, 100, 100, 300]).collect::<Vec<_>>()
        );
    }
}
