//! How often each key may ask: the generic cell rate algorithm (ITU-T I.371), whose one number per key is when its requests would be due if
//! they came evenly. The numbers are kept as a count-min sketch (Cormode and Muthukrishnan, 2005): a fixed size for any number of keys, no
//! lock, and nothing to clean up. A key is refused by mistake only if it shares all of its cells with keys that ask too often.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const ROWS: usize = 4;
/// Cells of a row; a power of two, so that 16 bits of a hash choose one.
const CELLS: usize = 1 << 14;

/// What a key may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    /// Requests per second in the long run; not 0.
    pub(crate) per_s: u64,
    /// Requests at once, after a pause; not 0.
    pub(crate) burst: u64,
}

/// When the next request of each key would be due, in µs.
#[derive(Debug)]
pub(crate) struct Rates {
    limit: Limit,
    cells: Vec<AtomicU64>,
}

impl Rates {
    pub(crate) fn new(limit: Limit) -> Rates {
        Rates { limit, cells: (0..ROWS * CELLS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Takes a request of the key with this hash, whose bits must be random to clients. `Err`: after how many µs it may come again.
    ///
    /// Two requests of one key that meet on two threads may count as one.
    pub(crate) fn take(&self, hash: u64, now_us: u64) -> Result<(), u64> {
        let due_us = self.cells_of(hash).map(|cell| cell.load(Relaxed)).min().unwrap_or(0).max(now_us);
        let interval_us = 1_000_000 / self.limit.per_s;
        let ahead_us = (self.limit.burst - 1) * interval_us;
        if due_us > now_us + ahead_us {
            return Err(due_us - now_us - ahead_us);
        }
        // Only what is behind moves: a cell that others have moved further already stays.
        for cell in self.cells_of(hash) {
            cell.fetch_max(due_us + interval_us, Relaxed);
        }
        Ok(())
    }

    fn cells_of(&self, hash: u64) -> impl Iterator<Item = &AtomicU64> {
        let place = move |row: usize| {
            let bits = usize::try_from((hash >> (16 * row)) & 0xffff).unwrap_or(0);
            row * CELLS + bits % CELLS
        };
        (0..ROWS).map(move |row| &self.cells[place(row)])
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    const SECOND: u64 = 1_000_000;

    fn taken(rates: &Rates, hash: u64, times: usize, now_us: u64) -> usize {
        (0..times).filter(|_| rates.take(hash, now_us).is_ok()).count()
    }

    #[test]
    fn a_key_has_its_burst_and_then_its_rate() {
        let rates = Rates::new(Limit { per_s: 10, burst: 5 });
        assert_eq!(taken(&rates, 7, 20, SECOND), 5);
        assert_eq!(rates.take(7, SECOND), Err(100_000));
        assert_eq!(rates.take(7, SECOND + 99_999), Err(1));
        assert_eq!(taken(&rates, 7, 20, SECOND + 100_000), 1);
        assert_eq!(taken(&rates, 7, 20, 2 * SECOND + 100_000), 5);
        // A second of one request each 50 ms: every other one, after what had gathered in the pause.
        let spread = (0..20).filter(|step| rates.take(7, 10 * SECOND + step * 50_000).is_ok()).count();
        assert_eq!(spread, 14);
    }

    #[test]
    fn keys_that_ask_too_often_take_nothing_from_others() {
        let rates = Rates::new(Limit { per_s: 1, burst: 1 });
        let mut random = StdRng::seed_from_u64(1);
        for _ in 0..2_000 {
            taken(&rates, random.random(), 3, SECOND);
        }
        let asked = 1_000;
        let refused = (0..asked).filter(|_| rates.take(random.random(), SECOND).is_err()).count();
        // Each of four cells is taken with a chance of an eighth.
        assert!(refused <= 3, "{refused} of {asked}");
    }
}
