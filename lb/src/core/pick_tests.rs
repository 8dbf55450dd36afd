//! Picks as tables.

use super::*;

const IDLE: Load = Load { in_flight: 0, expected_us: 1_000.0, weight: 1 };

fn even(count: usize) -> Rotation {
    Rotation::new(&(0..count).map(|place| (place, 1)).collect::<Vec<_>>(), Vec::new())
}

fn draw(turn: usize) -> Draw {
    Draw { turn, random: 0 }
}

/// Whom the attempts of one request go to, each to one not asked before.
fn check(turn: usize, rotation: &Rotation, expected: &[usize]) {
    let mut order = Vec::new();
    while let Some(place) = rotation.pick(Policy::RoundRobin, draw(turn), |place| !order.contains(&place), |_| IDLE) {
        order.push(place);
    }
    assert_eq!(order, expected, "turn {turn} over {rotation:?}");
}

#[test]
fn every_backend_is_tried_once_and_healthy_ones_first() {
    let weighted = |healthy: &[usize], others: &[usize]| {
        Rotation::new(&healthy.iter().map(|place| (*place, 1)).collect::<Vec<_>>(), others.to_vec())
    };
    check(0, &even(3), &[0, 1, 2]);
    check(5, &even(3), &[2, 0, 1]);
    check(0, &weighted(&[0, 2], &[1]), &[0, 2, 1]);
    check(1, &weighted(&[0, 2], &[1, 3]), &[2, 0, 3, 1]);
    check(usize::MAX, &weighted(&[7], &[]), &[7]);
    check(0, &even(0), &[]);
}

#[test]
fn when_all_look_unhealthy_all_are_used() {
    check(0, &Rotation::new(&[], vec![0, 1, 2]), &[0, 1, 2]);
    check(4, &Rotation::new(&[], vec![0, 1, 2]), &[1, 2, 0]);
}

#[test]
fn who_has_no_weight_is_asked_when_nobody_else_can_be() {
    check(1, &Rotation::new(&[(0, 1), (1, 0)], vec![2]), &[0, 2, 1]);
}

#[test]
fn shares_differ_by_at_most_one() {
    for (first, requests) in [(0, 40), (17, 41), (2, 1)] {
        let mut shares = [0; 3];
        for turn in first..first + requests {
            shares[even(3).pick(Policy::RoundRobin, draw(turn), |_| true, |_| IDLE).unwrap()] += 1;
        }
        assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
    }
}

#[test]
fn the_least_loaded_for_its_weight_is_next() {
    let check = |loads: [(u64, u32); 3], turn, expected| {
        let load = |place: usize| Load { in_flight: loads[place].0, weight: loads[place].1, ..IDLE };
        let picked = even(3).pick(Policy::LeastInFlight, draw(turn), |_| true, load);
        assert_eq!(picked, Some(expected), "{loads:?} {turn}");
    };
    check([(2, 1), (1, 1), (3, 1)], 0, 1);
    check([(1, 1), (1, 1), (1, 1)], 2, 2);
    check([(2, 1), (1, 1), (3, 4)], 0, 2);
}

#[test]
fn of_two_drawn_the_one_that_will_answer_first_is_next() {
    // Draws all pairs in turn.
    let picked = |times_us: [f64; 3], in_flight: [u64; 3]| {
        let load = |place: usize| Load { in_flight: in_flight[place], expected_us: times_us[place], weight: 1 };
        let mut shares = [0; 3];
        for first in 0..3 {
            for second in 0..2 {
                let draw = Draw { turn: 0, random: first << 32 | second };
                shares[even(3).pick(Policy::PeakEwma, draw, |_| true, load).unwrap()] += 1;
            }
        }
        shares
    };
    assert_eq!(picked([1.0, 10.0, 1.0], [0, 0, 0]), [3, 0, 3]);
    assert_eq!(picked([1.0, 2.0, 3.0], [0, 0, 0]), [4, 2, 0]);
    assert_eq!(picked([1.0, 2.0, 3.0], [9, 0, 0]), [0, 4, 2]);
}

#[test]
fn whoever_may_be_asked_is_found_whatever_is_drawn() {
    for policy in [Policy::RoundRobin, Policy::LeastInFlight, Policy::PeakEwma] {
        for random in 0..20 {
            let draw = Draw { turn: random, random: (random as u64) << 32 | random as u64 };
            assert_eq!(even(9).pick(policy, draw, |place| place == 4, |_| IDLE), Some(4), "{policy:?} {random}");
            assert_eq!(even(9).pick(policy, draw, |_| false, |_| IDLE), None, "{policy:?} {random}");
        }
    }
}

#[test]
fn connections_go_to_the_least_loaded_loop() {
    for (turn, loads, expected) in [
        (0, &[3, 1, 2][..], Some(1)),
        (0, &[2, 2], Some(0)),
        (1, &[2, 2], Some(1)),
        (1, &[0, 2], Some(0)),
        (0, &[], None),
    ] {
        assert_eq!(event_loop(turn, loads), expected, "turn {turn} over {loads:?}");
    }
}
