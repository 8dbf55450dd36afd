//! When the next heartbeat goes out. Pure: times are `chassis::clock::now_ms`.

/// The longest between two heartbeats, in ms, also when nothing is held: the store forgets a worker that it does not hear.
pub(crate) const PERIOD_MAX_MS: u64 = 5_000;
/// While progress changes, heartbeats go out this often, in ms: four a second.
const PROGRESS_MS: u64 = 250;
/// The shortest between a failed registration and the next one, in ms.
const REGISTER_MS: u64 = 200;

/// What went out and what was answered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pulse {
    sent_ms: Option<u64>,
    answered: bool,
}

/// What the next heartbeat is wanted for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) shortest_lease_ms: Option<u64>,
    /// Somebody reported progress that was not sent yet.
    pub(crate) progress: bool,
    /// The store does not know the session.
    pub(crate) register: bool,
}

impl Pulse {
    pub(crate) fn sent(&mut self, now_ms: u64) {
        self.sent_ms = Some(now_ms);
        self.answered = false;
    }

    /// Any answer proves that the store hears us; one that was sent before the latest counts too.
    pub(crate) fn answered(&mut self) {
        self.answered = true;
    }

    /// When the next one is due: a third of the shortest lease after the last, a sixth if that one was not answered.
    #[must_use]
    pub(crate) fn due_ms(&self, wanted: Wanted) -> u64 {
        let Some(sent_ms) = self.sent_ms else { return 0 };
        let period_ms = period_ms(wanted.shortest_lease_ms);
        let regular_ms = if self.answered { period_ms } else { period_ms / 2 };
        let progress_ms = if wanted.progress { PROGRESS_MS } else { u64::MAX };
        let register_ms = if wanted.register { REGISTER_MS } else { u64::MAX };
        sent_ms + regular_ms.min(progress_ms).min(register_ms)
    }
}

/// A third of the shortest lease held. Also how long a heartbeat may take: beyond it two others are on their way.
#[must_use]
pub(crate) fn period_ms(shortest_lease_ms: Option<u64>) -> u64 {
    shortest_lease_ms.map_or(PERIOD_MAX_MS, |lease_ms| (lease_ms / 3).min(PERIOD_MAX_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeat_is_due_by_the_shortest_lease_and_sooner_when_unanswered() {
        let check = |answered: bool, wanted: Wanted, expected: u64| {
            let pulse = Pulse { sent_ms: Some(1_000), answered };
            assert_eq!(pulse.due_ms(wanted) - 1_000, expected, "{answered} {wanted:?}");
        };
        let idle = Wanted::default();
        let holding = |lease_ms| Wanted { shortest_lease_ms: Some(lease_ms), ..idle };
        check(true, idle, 5_000);
        check(false, idle, 2_500);
        check(true, holding(15_000), 5_000);
        check(true, holding(3_000), 1_000);
        check(false, holding(3_000), 500);
        check(true, holding(3_600_000), 5_000);
        check(true, Wanted { progress: true, ..holding(15_000) }, 250);
        check(true, Wanted { progress: true, ..holding(500) }, 166);
        check(false, Wanted { register: true, ..idle }, 200);
    }

    #[test]
    fn first_heartbeat_is_due_at_once() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.due_ms(Wanted::default()), 0);
        pulse.sent(7_000);
        assert_eq!(pulse.due_ms(Wanted::default()), 9_500);
        pulse.answered();
        assert_eq!(pulse.due_ms(Wanted::default()), 12_000);
    }
}
