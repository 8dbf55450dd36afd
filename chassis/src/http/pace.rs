//! How slow a client may be: a head that has begun must end within its time, a silent connection is closed after its.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// What a connection shows of itself. Written and read by the connection's own task only, so relaxed.
#[derive(Debug)]
pub(super) struct Signs {
    start: Instant,
    /// A handler is at work; it has limits of its own.
    answering: AtomicBool,
    /// When the first bytes of a head came, in ms after `start`, plus 1; 0 between heads.
    head_began: AtomicU64,
    /// When bytes last went either way, in ms after `start`.
    moved: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    LookAgainAfter(Duration),
    HeadTooSlow,
    Idle,
}

impl Signs {
    pub(super) fn new() -> Arc<Signs> {
        let (head_began, moved) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Signs { start: Instant::now(), answering: AtomicBool::new(false), head_began, moved })
    }

    pub(super) fn received(&self) {
        let now = self.now_ms();
        self.moved.store(now, Ordering::Relaxed);
        if !self.answering.load(Ordering::Relaxed) && self.head_began.load(Ordering::Relaxed) == 0 {
            self.head_began.store(now + 1, Ordering::Relaxed);
        }
    }

    pub(super) fn sent(&self) {
        self.moved.store(self.now_ms(), Ordering::Relaxed);
    }

    /// The head is complete.
    pub(super) fn answering(&self) {
        self.answering.store(true, Ordering::Relaxed);
        self.head_began.store(0, Ordering::Relaxed);
    }

    pub(super) fn answered(&self) {
        self.answering.store(false, Ordering::Relaxed);
        self.moved.store(self.now_ms(), Ordering::Relaxed);
    }

    pub(super) fn judge(&self, head_time: Duration, idle_time: Duration) -> Verdict {
        let head_began = self.head_began.load(Ordering::Relaxed).checked_sub(1);
        let answering = self.answering.load(Ordering::Relaxed);
        let since = |then_ms: u64| Duration::from_millis(self.now_ms().saturating_sub(then_ms));
        let silent = since(self.moved.load(Ordering::Relaxed));
        judge(answering, head_began.map(since), silent, head_time, idle_time)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn judge(
    answering: bool,
    head_since: Option<Duration>,
    silent: Duration,
    head_time: Duration,
    idle_time: Duration,
) -> Verdict {
    let left = |limit: Duration, used: Duration| limit.checked_sub(used).filter(|left| !left.is_zero());
    if answering {
        return Verdict::LookAgainAfter(head_time);
    }
    if let Some(since) = head_since {
        return left(head_time, since).map_or(Verdict::HeadTooSlow, Verdict::LookAgainAfter);
    }
    // A head may begin and be late before the silence ends.
    left(idle_time, silent).map_or(Verdict::Idle, |left| Verdict::LookAgainAfter(left.min(head_time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answering: bool, head_since_s: Option<u64>, silent_s: u64, expected: Verdict) {
        let seconds = Duration::from_secs;
        let verdict = judge(answering, head_since_s.map(seconds), seconds(silent_s), seconds(10), seconds(75));
        assert_eq!(verdict, expected, "{answering} {head_since_s:?} {silent_s}");
    }

    #[test]
    fn slow_heads_and_silent_connections_are_told_from_long_answers() {
        let again = |seconds| Verdict::LookAgainAfter(Duration::from_secs(seconds));
        check(false, None, 0, again(10));
        check(false, None, 70, again(5));
        check(false, None, 75, Verdict::Idle);
        check(false, Some(0), 0, again(10));
        check(false, Some(9), 0, again(1));
        check(false, Some(10), 0, Verdict::HeadTooSlow);
        check(true, None, 1_000, again(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_is_timed_from_its_first_byte_to_its_last() {
        let signs = Signs::new();
        let judge = || signs.judge(Duration::from_secs(10), Duration::from_secs(75));
        tokio::time::advance(Duration::from_secs(60)).await;
        signs.received();
        tokio::time::advance(Duration::from_secs(6)).await;
        signs.received();
        assert_eq!(judge(), Verdict::LookAgainAfter(Duration::from_secs(4)));
        signs.answering();
        signs.received();
        tokio::time::advance(Duration::from_secs(600)).await;
        assert!(matches!(judge(), Verdict::LookAgainAfter(_)));
        signs.answered();
        tokio::time::advance(Duration::from_secs(74)).await;
        assert_eq!(judge(), Verdict::LookAgainAfter(Duration::from_secs(1)));
        signs.sent();
        tokio::time::advance(Duration::from_secs(75)).await;
        assert_eq!(judge(), Verdict::Idle);
    }
}
