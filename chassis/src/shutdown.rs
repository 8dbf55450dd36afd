//! Stopping in two stages: first no new work and finish what runs, then, at the deadline, stop the work.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::task::Tasks;

/// Stands for deadlines that no clock reaches.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 86_400);

#[derive(Debug, Clone, Copy)]
enum Stage {
    Running,
    Draining { until: Instant },
    Ended,
}

/// Tells the parts of a program when to stop. Clones see the same stages.
#[derive(Debug, Clone)]
pub struct Shutdown {
    // The sender, so that the channel lives as long as anybody who looks at it.
    stage: Arc<watch::Sender<Stage>>,
}

/// Begins the stages of the [`Shutdown`]s it was made with.
#[derive(Debug, Clone)]
pub struct Trigger {
    stage: Arc<watch::Sender<Stage>>,
    deadline: Duration,
}

impl Shutdown {
    /// One that never comes, for tests and tools.
    pub fn never() -> Shutdown {
        Shutdown { stage: Arc::new(watch::Sender::new(Stage::Running)) }
    }

    /// Waits for the first stage: stop fetching, finish what runs. Cancel-safe.
    pub async fn draining(&self) {
        let mut stage = self.stage.subscribe();
        // Cannot fail: `self` holds the sender.
        drop(stage.wait_for(|stage| !matches!(stage, Stage::Running)).await);
    }

    /// Waits for the second stage: the deadline has passed, stop the work. Cancel-safe.
    pub async fn ended(&self) {
        let mut changes = self.stage.subscribe();
        loop {
            let stage = *changes.borrow_and_update();
            match stage {
                Stage::Ended => return,
                Stage::Running => drop(changes.changed().await),
                Stage::Draining { until } => tokio::select! {
                    () = tokio::time::sleep_until(until) => return,
                    _ = changes.changed() => {}
                },
            }
        }
    }

    pub fn is_draining(&self) -> bool {
        !matches!(*self.stage.borrow(), Stage::Running)
    }

    pub fn is_ended(&self) -> bool {
        match *self.stage.borrow() {
            Stage::Running => false,
            Stage::Draining { until } => Instant::now() >= until,
            Stage::Ended => true,
        }
    }

    /// When the work is stopped, once draining has begun.
    pub fn deadline(&self) -> Option<Instant> {
        match *self.stage.borrow() {
            Stage::Running => None,
            Stage::Draining { until } => Some(until),
            Stage::Ended => Some(Instant::now()),
        }
    }
}

impl Trigger {
    /// A trigger and what it triggers; `deadline` is how long draining may take.
    pub fn new(deadline: Duration) -> (Trigger, Shutdown) {
        let shutdown = Shutdown::never();
        (Trigger { stage: Arc::clone(&shutdown.stage), deadline }, shutdown)
    }

    /// SIGTERM or SIGINT begins the drain; a second one ends it at once. The listening task belongs to `tasks`.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn from_signals(deadline: Duration, tasks: &Tasks) -> io::Result<Shutdown> {
        let (trigger, shutdown) = Trigger::new(deadline);
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tasks.spawn("signals", async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if trigger.signalled() {
                    tracing::info!(signal = name, deadline_ms = deadline.as_millis(), "draining; again to end at once");
                } else {
                    tracing::warn!(signal = name, "ending at once");
                }
            }
        });
        Ok(shutdown)
    }

    /// Begins the first stage; repeated, it changes nothing.
    pub fn drain(&self) {
        let now = Instant::now();
        let until = now.checked_add(self.deadline).unwrap_or(now + FOREVER);
        self.stage.send_if_modified(|stage| {
            let first = matches!(stage, Stage::Running);
            if first {
                *stage = Stage::Draining { until };
            }
            first
        });
    }

    /// Begins the second stage, whatever the deadline.
    pub fn end(&self) {
        self.stage.send_replace(Stage::Ended);
    }

    /// A signal came: drains at the first, ends at the second. True at the first.
    fn signalled(&self) -> bool {
        let first = matches!(*self.stage.borrow(), Stage::Running);
        if first {
            self.drain();
        } else {
            self.end();
        }
        first
    }
}

/// SIGHUP, for programs that read something again; from now on it no longer ends the process.
///
/// # Errors
/// When the signal handler cannot be installed.
pub fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test(start_paused = true)]
    async fn the_second_stage_comes_at_the_deadline() {
        let (trigger, shutdown) = Trigger::new(Duration::from_secs(20));
        assert!(shutdown.draining().now_or_never().is_none());
        let begin = Instant::now();
        trigger.drain();
        shutdown.draining().await;
        assert!(shutdown.is_draining() && !shutdown.is_ended());
        shutdown.ended().await;
        assert_eq!(begin.elapsed().as_secs(), 20);
        assert!(shutdown.is_ended());
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_drain_does_not_move_the_deadline() {
        let (trigger, shutdown) = Trigger::new(Duration::from_secs(20));
        trigger.drain();
        tokio::time::sleep(Duration::from_secs(15)).await;
        trigger.drain();
        let begin = Instant::now();
        shutdown.ended().await;
        assert_eq!(begin.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_at_once() {
        let (trigger, shutdown) = Trigger::new(Duration::from_secs(20));
        let ended = shutdown.clone();
        let waiting = async move { ended.ended().await };
        tokio::pin!(waiting);
        assert!(trigger.signalled());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(!trigger.signalled());
        assert!(waiting.now_or_never().is_some());
    }

    #[tokio::test]
    async fn it_never_comes_when_the_trigger_is_gone() {
        let (trigger, shutdown) = Trigger::new(Duration::ZERO);
        drop(trigger);
        assert!(shutdown.draining().now_or_never().is_none());
        assert!(shutdown.ended().now_or_never().is_none());
        assert!(!shutdown.is_draining() && shutdown.deadline().is_none());
    }
}
