//! Who is left out, second by second.

use super::*;

const LIMITS: Limits = Limits { in_a_row: 5, absence: Duration::from_secs(30) };

/// Backends whose requests succeed or fail as told.
struct Trial {
    all: Vec<Conduct>,
    totals: Vec<(Totals, u64)>,
    now: Duration,
    /// The last so many failures of a second are those to connect.
    unreached: u64,
}

impl Trial {
    fn of(count: usize) -> Self {
        let all = (0..count).map(|_| Conduct::default()).collect();
        Self { all, totals: vec![(Totals::default(), 0); count], now: Duration::ZERO, unreached: 0 }
    }

    /// One second; of each backend so many answers and failures among them.
    fn second(&mut self, counted: &[(u64, u64)]) -> Vec<(usize, Change)> {
        for (place, (answers, failures)) in counted.iter().enumerate() {
            let (totals, in_a_row) = &mut self.totals[place];
            totals.answers += answers;
            totals.failures += failures;
            totals.unreached += self.unreached.min(*failures);
            *in_a_row = if answers == failures { *in_a_row + failures } else { 0 };
            self.all[place].observe(self.now, *totals, *in_a_row);
        }
        let changes = changes(&mut self.all.iter_mut().collect::<Vec<_>>(), self.now, LIMITS);
        for (place, _) in &changes {
            self.totals[*place].1 = 0;
        }
        self.now += Duration::from_secs(1);
        changes
    }

    fn out(&self) -> Vec<usize> {
        (0..self.all.len()).filter(|place| self.all[*place].is_out()).collect()
    }
}

#[test]
fn five_failures_in_a_row_are_enough_and_four_are_not() {
    let mut trial = Trial::of(3);
    assert_eq!(trial.second(&[(4, 4), (9, 0), (9, 0)]), []);
    assert_eq!(trial.second(&[(1, 1), (9, 0), (9, 0)]), [(0, Change::Out { until: Duration::from_secs(31) })]);
}

#[test]
fn a_fifth_of_failures_is_borne_and_more_is_not() {
    let mut trial = Trial::of(3);
    for _ in 0..20 {
        assert_eq!(trial.second(&[(10, 2), (10, 0), (10, 0)]), []);
    }
    let seconds = (1..).find(|_| !trial.second(&[(10, 4), (10, 0), (10, 0)]).is_empty());
    assert_eq!(seconds, Some(1));
}

#[test]
fn of_few_requests_nothing_is_concluded_and_old_ones_do_not_count() {
    let mut trial = Trial::of(3);
    for _ in 0..60 {
        // At most 10 in a window, half of them failures.
        assert_eq!(trial.second(&[(1, u64::from(trial.now.as_secs().is_multiple_of(2))), (9, 0), (9, 0)]), []);
    }
}

#[test]
fn when_all_fail_nobody_is_left_out() {
    let mut trial = Trial::of(3);
    for _ in 0..60 {
        assert_eq!(trial.second(&[(30, 30), (30, 30), (30, 30)]), []);
    }
}

#[test]
fn half_of_all_stay_whatever_they_do() {
    let mut trial = Trial::of(4);
    trial.second(&[(9, 9), (9, 9), (9, 9), (9, 0)]);
    assert_eq!(trial.out(), [0, 1]);
    let mut trial = Trial::of(1);
    trial.second(&[(9, 9)]);
    assert!(trial.out().is_empty());
    // One that is down is out already.
    let mut trial = Trial::of(3);
    trial.all[2].checked(false, true, 2);
    trial.second(&[(9, 9), (9, 0), (0, 0)]);
    assert!(trial.out().is_empty());
}

#[test]
fn absences_grow_and_are_forgotten_after_good_conduct() {
    let mut trial = Trial::of(3);
    let mut absence = |fails: &dyn Fn(u64) -> bool| {
        let mut out_s = 0;
        for second in 0..400 {
            let is_out = trial.all[0].is_out();
            out_s += u64::from(is_out);
            let failures = if fails(second) && !is_out { 9 } else { 0 };
            trial.second(&[(if is_out { 0 } else { 9 }, failures), (9, 0), (9, 0)]);
        }
        out_s
    };
    // Out for 30, 60, 90, 120 seconds, and again.
    assert!(absence(&|_| true) > 300);
    assert!(absence(&|_| false) <= 150);
    assert_eq!(absence(&|second| second == 0), 30);
}

#[test]
fn who_is_there_again_is_taken_for_another() {
    let mut trial = Trial::of(3);
    trial.second(&[(9, 9), (9, 0), (9, 0)]);
    assert!(!trial.all[0].checked(true, false, 2) && !trial.all[0].checked(true, false, 2));
    trial.all[0].checked(false, true, 2);
    assert_eq!(trial.out(), [0]);
    trial.all[0].checked(true, false, 2);
    assert!(trial.out().is_empty());
    assert_eq!(trial.second(&[(9, 0), (9, 0), (9, 0)]), []);
}

#[test]
fn who_could_not_be_reached_is_back_when_checks_reach_it() {
    let mut trial = Trial::of(3);
    trial.unreached = 9;
    trial.second(&[(9, 9), (9, 0), (9, 0)]);
    assert_eq!(trial.out(), [0]);
    let checks = [true, false, true, true].map(|is_ready| trial.all[0].checked(is_ready, false, 2));
    assert_eq!(checks, [false, false, false, true]);
    assert!(trial.second(&[(9, 0), (9, 0), (9, 0)]).is_empty());
}

/// A process that is killed breaks what it was answering before it refuses what comes next, and the next process may be there before a check misses it.
#[test]
fn of_a_process_that_was_gone_for_a_moment_one_refused_connection_tells() {
    let mut broken_first = Trial::of(3);
    broken_first.unreached = 1;
    broken_first.second(&[(5, 5), (9, 0), (9, 0)]);
    let mut back_before_the_fifth = Trial::of(3);
    back_before_the_fifth.unreached = 1;
    back_before_the_fifth.second(&[(4, 4), (9, 0), (9, 0)]);
    back_before_the_fifth.unreached = 0;
    back_before_the_fifth.second(&[(16, 1), (16, 0), (16, 0)]);
    for mut trial in [broken_first, back_before_the_fifth] {
        assert_eq!(trial.out(), [0]);
        let checks = [true, true].map(|is_ready| trial.all[0].checked(is_ready, false, 2));
        assert_eq!(checks, [false, true]);
        assert!(trial.second(&[(9, 0), (9, 0), (9, 0)]).is_empty());
    }
}
