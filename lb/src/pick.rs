//! Who is next: the backend for an attempt, the event loop for a connection.

/// The backend of attempt number `attempt` (from 0) of the request that drew `turn` from the shared cursor.
///
/// Attempt 0 is round robin over the healthy ones, so that over any run of turns their shares differ by at most one.
/// Each further attempt is one backend on; when the healthy ones are used up, the others follow, because a backend that
/// only looks unhealthy is better than no answer. None when every backend has been tried.
pub(crate) fn backend(turn: usize, attempt: usize, healthy: &[usize], others: &[usize]) -> Option<usize> {
    let (list, attempt) = match attempt.checked_sub(healthy.len()) {
        None => (healthy, attempt),
        Some(attempt) if attempt < others.len() => (others, attempt),
        Some(_) => return None,
    };
    let place = (turn % list.len() + attempt) % list.len();
    list.get(place).copied()
}

/// The least loaded of the event loops; of equals the first from `turn` on. None if there is no loop.
pub(crate) fn event_loop(turn: usize, loads: &[usize]) -> Option<usize> {
    let count = loads.len();
    (0..count).map(|step| (turn % count + step) % count).min_by_key(|&place| loads[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(turn: usize, healthy: &[usize], others: &[usize], expected: &[usize]) {
        let order: Vec<usize> = (0..).map_while(|attempt| backend(turn, attempt, healthy, others)).collect();
        assert_eq!(order, expected, "turn {turn} over {healthy:?}, {others:?}");
    }

    #[test]
    fn every_backend_is_tried_once_and_healthy_ones_first() {
        check(0, &[0, 1, 2], &[], &[0, 1, 2]);
        check(5, &[0, 1, 2], &[], &[2, 0, 1]);
        check(0, &[0, 2], &[1], &[0, 2, 1]);
        check(1, &[0, 2], &[1, 3], &[2, 0, 3, 1]);
        check(usize::MAX, &[7], &[], &[7]);
        check(0, &[], &[], &[]);
    }

    #[test]
    fn when_all_look_unhealthy_all_are_used() {
        check(0, &[], &[0, 1, 2], &[0, 1, 2]);
        check(4, &[], &[0, 1, 2], &[1, 2, 0]);
    }

    #[test]
    fn shares_differ_by_at_most_one() {
        for (first, requests) in [(0, 40), (17, 41), (2, 1)] {
            let mut shares = [0; 3];
            for turn in first..first + requests {
                shares[backend(turn, 0, &[0, 1, 2], &[]).unwrap()] += 1;
            }
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
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
}
