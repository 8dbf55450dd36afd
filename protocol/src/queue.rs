//! A queue as a whole, without a look at its rows: how many are open in which state, and what came and went lately.

use serde::{Deserialize, Serialize};

use crate::ids::JobId;
use crate::job::State;
use crate::time::Timestamp;

/// The time that [`QueueView::last_minute`] looks back, in ms.
pub const FLOW_WINDOW_MS: u64 = 60_000;

/// Jobs of a queue that may be open at once, unless the operator says otherwise.
pub const DEPTH_MAX_DEFAULT: u64 = 10_000_000;
/// When to come back to a full queue, in s.
pub const FULL_RETRY_AFTER_S: u64 = 5;

/// How many jobs of a queue have not ended, by what they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Depth {
    pub scheduled: u64,
    pub queued: u64,
    /// Also those whose outcome is recorded and waits for its fence.
    pub running: u64,
}

impl Depth {
    /// Jobs that have not ended.
    #[must_use]
    pub fn open(self) -> u64 {
        self.scheduled + self.queued + self.running
    }

    /// Whether one more may be opened.
    #[must_use]
    pub fn has_room(self, depth_max: u64) -> bool {
        self.open() < depth_max
    }

    pub fn add(&mut self, other: Self) {
        self.scheduled += other.scheduled;
        self.queued += other.queued;
        self.running += other.running;
    }

    /// Counts a step of one job; `before` is `None` when it was created.
    pub fn moved(&mut self, before: Option<State>, after: State) {
        if let Some(count) = before.and_then(|state| self.count_of(state)) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = self.count_of(after) {
            *count += 1;
        }
    }

    fn count_of(&mut self, state: State) -> Option<&mut u64> {
        match state {
            State::Scheduled => Some(&mut self.scheduled),
            State::Queued => Some(&mut self.queued),
            State::Running | State::Finishing => Some(&mut self.running),
            State::Succeeded | State::Failed | State::Cancelled => None,
        }
    }
}

/// What came to a queue, and what became of it, in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Flow {
    /// Created, or opened again by a retry.
    pub arrived: u64,
    /// Attempts, not jobs.
    pub started: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
}

impl Flow {
    /// Counts a step of one job; `before` is `None` when it was created.
    pub fn moved(&mut self, before: Option<State>, after: State) {
        if before == Some(after) {
            return;
        }
        if before.is_none_or(State::is_terminal) {
            self.arrived += 1;
        }
        match after {
            State::Running => self.started += 1,
            State::Succeeded => self.succeeded += 1,
            State::Failed => self.failed += 1,
            State::Cancelled => self.cancelled += 1,
            State::Scheduled | State::Queued | State::Finishing => {}
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.arrived += other.arrived;
        self.started += other.started;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
    }
}

/// One queue in `GET /queues`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueueView {
    pub queue: String,
    pub paused: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<Timestamp>,
    pub depth: Depth,
    /// Of the queued jobs the one that was created first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Oldest>,
    pub last_minute: Flow,
    /// Live workers that consume the queue, and their slots for it.
    pub sessions: u64,
    pub slots: u64,
    /// Bells that lie in the broker or are on their way, and how many may.
    pub bells: u64,
    pub window: u64,
}

/// The job that waits longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Oldest {
    pub job_id: JobId,
    pub created_at: Timestamp,
}

/// `GET /queues`, by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Queues {
    pub queues: Vec<QueueView>,
}

/// The answer to `pause` and `resume`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pause {
    pub queue: String,
    pub paused: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [State; 9] = [
        State::Scheduled,
        State::Queued,
        State::Running,
        State::Queued,
        State::Running,
        State::Failed,
        State::Queued,
        State::Running,
        State::Finishing,
    ];

    #[test]
    fn depth_follows_a_job_through_its_states() {
        let mut depth = Depth::default();
        let mut before = None;
        for state in STEPS {
            depth.moved(before, state);
            before = Some(state);
            assert_eq!(depth.open(), u64::from(!state.is_terminal()), "{state:?}: {depth:?}");
        }
        assert_eq!(depth, Depth { scheduled: 0, queued: 0, running: 1 });
        depth.moved(Some(State::Finishing), State::Succeeded);
        assert_eq!(depth, Depth::default());
    }

    #[test]
    fn all_open_jobs_take_room() {
        let depth = Depth { scheduled: 1, queued: 2, running: 3 };
        let check = |depth_max: u64, expected: bool| assert_eq!(depth.has_room(depth_max), expected, "{depth_max}");
        check(5, false);
        check(6, false);
        check(7, true);
    }

    #[test]
    fn flow_counts_what_happened() {
        let mut flow = Flow::default();
        let mut before = None;
        for state in STEPS.into_iter().chain([State::Finishing, State::Succeeded]) {
            flow.moved(before, state);
            before = Some(state);
        }
        assert_eq!(flow, Flow { arrived: 2, started: 3, succeeded: 1, failed: 1, cancelled: 0 });
        flow.add(&flow.clone());
        assert_eq!(flow.started, 6);
    }
}
