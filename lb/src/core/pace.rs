//! How long somebody may keep us waiting in the course of one transfer: a while, and longer the more bytes pass. So trickling wins no time,
//! and a slow line is no fault.

/// What is asked of a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// It may be silent for this long at a time.
    pub(crate) stall_ms: u64,
    /// Of the time that it keeps us waiting, so many bytes per second beyond the first `stall_ms`; 0: any.
    pub(crate) bytes_per_s_min: u64,
}

/// One transfer: what has passed, and how long it was waited for.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    bytes: u64,
    waited_ms: u64,
    since_ms: Option<u64>,
}

impl Pace {
    /// It is waited for, from now on unless it was already; until when it will be.
    pub(crate) fn wait(&mut self, now_ms: u64, terms: Terms) -> u64 {
        let since_ms = *self.since_ms.get_or_insert(now_ms);
        since_ms + terms.stall_ms.min(self.left_ms(terms))
    }

    /// Something has passed.
    pub(crate) fn pass(&mut self, now_ms: u64, bytes: usize) {
        if let Some(since_ms) = self.since_ms.take() {
            self.waited_ms += now_ms.saturating_sub(since_ms);
        }
        self.bytes += bytes as u64;
    }

    fn left_ms(&self, terms: Terms) -> u64 {
        let earned_ms = (self.bytes * 1_000).checked_div(terms.bytes_per_s_min);
        earned_ms.map_or(u64::MAX, |earned_ms| (terms.stall_ms + earned_ms).saturating_sub(self.waited_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { stall_ms: 30_000, bytes_per_s_min: 500 };

    /// Bytes that come at a time and how long each takes; when the client is given up.
    fn check(terms: Terms, bytes: usize, each_ms: u64, expected_ms: Option<u64>) {
        let (mut pace, mut now_ms) = (Pace::default(), 5_000);
        let given_up = (0..1_000).find_map(|_| {
            let until_ms = pace.wait(now_ms, terms);
            now_ms += each_ms;
            pace.pass(now_ms, bytes);
            (until_ms < now_ms).then_some(until_ms - 5_000)
        });
        assert_eq!(given_up, expected_ms, "{bytes} bytes each {each_ms} ms");
    }

    #[test]
    fn silence_ends_it_and_so_does_trickling() {
        check(TERMS, 1, 40_000, Some(30_000));
        check(TERMS, 100_000, 40_000, Some(30_000));
        // Thirty seconds, and 2 ms for each of the bytes that came in them.
        check(TERMS, 1, 1_000, Some(30_060));
        check(TERMS, 499, 1_000, None);
        check(TERMS, 500, 1_000, None);
    }

    #[test]
    fn without_a_rate_only_silence_counts() {
        check(Terms { bytes_per_s_min: 0, ..TERMS }, 1, 29_000, None);
        check(Terms { bytes_per_s_min: 0, ..TERMS }, 1, 31_000, Some(30_000));
    }

    #[test]
    fn time_that_nobody_waited_does_not_count() {
        let mut pace = Pace::default();
        pace.pass(0, 1);
        pace.pass(1_000_000, 1);
        assert_eq!(pace.wait(2_000_000, TERMS), 2_030_000);
        // Asking again does not begin anew.
        assert_eq!(pace.wait(2_020_000, TERMS), 2_030_000);
    }
}
