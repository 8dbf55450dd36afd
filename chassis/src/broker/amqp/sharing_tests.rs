//! Which slots share which consumer: rules one by one, then a broker that keeps to the prefetch.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Three slots on consumer 1.
fn three() -> Sharing {
    let mut sharing = Sharing::default();
    (1..=3).for_each(|number| sharing.want(number, true));
    assert_eq!(sharing.begin_one(), Some((1, 3)));
    sharing
}

/// Ends what must end, as the broker would at once.
fn end_all(sharing: &mut Sharing) -> Vec<ConsumerId> {
    let ending = sharing.end_some();
    assert!(ending.iter().all(|consumer| sharing.ended(*consumer)));
    ending
}

#[test]
fn all_free_slots_share_one_consumer() {
    let mut sharing = three();
    assert_eq!(sharing.begin_one(), None);
    let mut taken: Vec<_> = (0..4).map(|_| sharing.take(1)).collect();
    taken.sort_unstable();
    assert_eq!(taken, [None, Some(1), Some(2), Some(3)]);
    sharing.free(2);
    assert_eq!(sharing.take(1), Some(2), "it takes the next one on the same consumer");
    assert!(sharing.end_some().is_empty());
}

#[test]
fn slot_that_leaves_ends_the_consumer_and_the_others_begin_another_one() {
    let mut sharing = three();
    let busy = sharing.take(1).expect("free");
    sharing.want(busy, false);
    assert_eq!(sharing.end_some(), [1]);
    assert_eq!(sharing.begin_one(), None, "what is on its way comes first");
    assert!(sharing.take(1).is_some(), "and finds a slot that is still free");
    assert!(sharing.ended(1));
    assert!(!sharing.ended(1), "it has no second end");
    assert_eq!(sharing.begin_one(), Some((2, 1)));
    sharing.free(busy);
    assert_eq!(sharing.begin_one(), None, "it does not want to");
    sharing.want(busy, true);
    assert_eq!(sharing.begin_one(), Some((3, 1)));
}

#[test]
fn free_slot_that_leaves_takes_nothing_more() {
    let mut sharing = three();
    (1..=3).for_each(|number| sharing.want(number, false));
    assert_eq!(sharing.end_some(), [1]);
    assert_eq!(sharing.take(1), None);
    assert!(sharing.ended(1));
    assert_eq!(sharing.begin_one(), None);
}

#[test]
fn an_end_that_nobody_asked_for_is_told_apart() {
    assert!(!three().ended(1));
}

#[test]
fn consumer_to_renew_ends_if_it_has_a_free_slot_and_its_slots_begin_another_one() {
    let mut sharing = three();
    let busy = [sharing.take(1), sharing.take(1)].map(|taken| taken.expect("free"));
    assert!(!sharing.renew(&[7]), "there is no such consumer");
    assert!(sharing.renew(&[1]));
    assert_eq!(end_all(&mut sharing), [1]);
    assert_eq!(sharing.begin_one(), Some((2, 1)));
    busy.iter().for_each(|busy| sharing.free(*busy));
    assert_eq!(sharing.begin_one(), Some((3, 2)));
    assert!(sharing.take(2).is_some());
    assert!(!sharing.renew(&[2]), "nothing could have come");
    assert!(sharing.end_some().is_empty());
}

#[test]
fn busy_slot_does_not_begin_on_a_new_channel() {
    let mut sharing = three();
    let busy = sharing.take(1).expect("free");
    sharing.reset();
    assert!(sharing.is_ready());
    assert_eq!(sharing.begin_one(), Some((2, 2)));
    assert!(!sharing.is_ready());
    sharing.free(busy);
    assert_eq!(sharing.begin_one(), Some((3, 1)));
}

#[test]
fn many_small_consumers_become_one() {
    let mut sharing = Sharing::default();
    for number in 1..=CONSUMERS_MAX {
        sharing.want(number, true);
        assert!(end_all(&mut sharing).is_empty());
        assert_eq!(sharing.begin_one(), Some((number as ConsumerId, 1)));
    }
    sharing.want(99, true);
    assert_eq!(end_all(&mut sharing).len(), CONSUMERS_MAX);
    let all = u16::try_from(CONSUMERS_MAX + 1).expect("few");
    assert_eq!(sharing.begin_one(), Some((CONSUMERS_MAX as ConsumerId + 1, all)));
}

/// A broker that keeps to the prefetch, against slots that come, take, settle, pause, resume and go in a random order.
#[test]
fn every_delivery_within_the_prefetch_finds_a_slot() {
    for seed in 1..200_u64 {
        let mut random = seed;
        let mut next = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(random >> 33).expect("31 bits") % below
        };
        let mut sharing = Sharing::default();
        // The broker's side: what each consumer may still be sent, and who has what from which.
        let (mut credit, mut held) = (BTreeMap::new(), BTreeMap::new());
        let (mut wanting, mut ending) = (BTreeSet::new(), Vec::new());
        for _ in 0..300 {
            let number = next(8);
            match next(5) {
                0 => {
                    wanting.insert(number);
                    sharing.want(number, true);
                }
                1 if next(3) == 0 => {
                    wanting.remove(&number);
                    sharing.want(number, false);
                }
                2 => {
                    let Some((consumer, left)) = credit.iter_mut().find(|(_, left)| **left > 0) else { continue };
                    let found = sharing.take(*consumer);
                    let is_live = !ending.contains(consumer);
                    assert!(found.is_some() || !is_live, "seed {seed}: nobody for a delivery of a live consumer");
                    let Some(number) = found else { continue };
                    *left -= 1;
                    assert!(wanting.contains(&number), "seed {seed}: slot {number} is paused");
                    assert!(held.insert(number, *consumer).is_none(), "seed {seed}: slot {number} is busy");
                }
                3 => {
                    let Some(consumer) = held.remove(&number) else { continue };
                    sharing.free(number);
                    credit.entry(consumer).and_modify(|left| *left += 1);
                }
                _ => {
                    if let Some(consumer) = ending.pop() {
                        credit.remove(&consumer);
                        assert!(sharing.ended(consumer), "seed {seed}");
                    }
                }
            }
            ending.extend(sharing.end_some());
            if let Some((consumer, prefetch)) = sharing.begin_one() {
                credit.insert(consumer, prefetch);
            }
        }
        while let Some(consumer) = ending.pop() {
            assert!(sharing.ended(consumer), "seed {seed}");
        }
        if let Some((consumer, prefetch)) = sharing.begin_one() {
            credit.insert(consumer, prefetch);
        }
        let idle = wanting.iter().filter(|number| !held.contains_key(number)).count();
        assert!(idle == 0 || credit.values().any(|left| *left > 0), "seed {seed}: nobody consumes");
    }
}
