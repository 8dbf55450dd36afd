//! Weighted round robin: an order of turns in which each backend has its share, and its turns lie as far apart as they can (nginx's smooth
//! weighted round robin). Made when membership changes; a turn is then one look.

/// Turns in an order, at most: weights are scaled down to that.
const TURNS_MAX: u32 = 4_096;

/// For each turn of a round the place of a backend. `weights` is by place; 0 has no turn.
pub(crate) fn turns(weights: &[(usize, u32)]) -> Vec<usize> {
    let weights = scaled(weights);
    let whole: i64 = weights.iter().map(|(_, weight)| i64::from(*weight)).sum();
    let mut owed = vec![0_i64; weights.len()];
    let mut turns = Vec::new();
    for _ in 0..whole {
        for (owed, (_, weight)) in owed.iter_mut().zip(&weights) {
            *owed += i64::from(*weight);
        }
        // Of equals the first.
        let Some(next) = (0..owed.len()).rev().max_by_key(|&index| owed[index]) else { break };
        owed[next] -= whole;
        turns.push(weights[next].0);
    }
    turns
}

/// In lowest terms, and few enough.
fn scaled(weights: &[(usize, u32)]) -> Vec<(usize, u32)> {
    let mut weights: Vec<(usize, u32)> = weights.iter().copied().filter(|(_, weight)| *weight > 0).collect();
    let common = weights.iter().fold(0, |common, (_, weight)| greatest_common_divisor(common, *weight));
    let sum: u64 = weights.iter().map(|(_, weight)| u64::from(weight / common.max(1))).sum();
    let too_many = u32::try_from(sum.div_ceil(u64::from(TURNS_MAX))).unwrap_or(u32::MAX).max(1);
    for (_, weight) in &mut weights {
        *weight = (*weight / common.max(1) / too_many).max(1);
    }
    weights
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(weights: &[u32], expected: &[usize]) {
        let places: Vec<_> = weights.iter().copied().enumerate().collect();
        assert_eq!(turns(&places), expected, "{weights:?}");
    }

    #[test]
    fn equals_take_turns() {
        check(&[10, 10, 10], &[0, 1, 2]);
        check(&[7], &[0]);
        check(&[], &[]);
        check(&[0, 0], &[]);
    }

    #[test]
    fn turns_of_the_heavy_lie_apart() {
        check(&[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0]);
        check(&[20, 10, 0], &[0, 1, 0]);
    }

    #[test]
    fn shares_are_the_weights() {
        let shares = |weights: &[(usize, u32)]| {
            let turns = turns(weights);
            weights.iter().map(|(place, _)| turns.iter().filter(|turn| *turn == place).count()).collect::<Vec<_>>()
        };
        assert_eq!(shares(&[(3, 30), (1, 10), (7, 25)]), [6, 2, 5]);
        let many: Vec<_> = (0..1_000).zip(255..).collect();
        assert!(shares(&many).iter().all(|share| *share >= 1));
        assert!(shares(&many).iter().sum::<usize>() <= 4_096);
    }
}
