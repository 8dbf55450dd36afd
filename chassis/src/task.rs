//! The only place that spawns: every task has a name, is awaited by somebody, and can be named when it does not end.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of one program or part. Clones share them.
#[derive(Clone)]
pub struct Tasks {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Option<Handle>,
    tracker: TaskTracker,
    stop: CancellationToken,
    // Held for an insertion only, never across an await.
    running: Mutex<BTreeMap<&'static str, usize>>,
    panicked: watch::Sender<Option<&'static str>>,
}

/// The tasks that were still running when their time was over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("still busy: {}", self.describe())]
pub struct Busy {
    /// Name and number.
    pub tasks: Vec<(&'static str, usize)>,
}

impl Tasks {
    /// Tasks on the runtime that the spawning code runs on.
    pub fn new() -> Tasks {
        Tasks::with_runtime(None)
    }

    /// Tasks on a runtime of their own.
    pub fn on(runtime: Handle) -> Tasks {
        Tasks::with_runtime(Some(runtime))
    }

    fn with_runtime(runtime: Option<Handle>) -> Tasks {
        let inner = Inner {
            runtime,
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            running: Mutex::new(BTreeMap::new()),
            panicked: watch::Sender::new(None),
        };
        Tasks { inner: Arc::new(inner) }
    }

    /// Runs `future` until it ends or [`Tasks::stop`] drops it. A panic is logged and told to [`Tasks::panicked`].
    #[expect(clippy::disallowed_methods, reason = "the only place that spawns")]
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let running = Running::enter(&self.inner, name);
        let stop = self.inner.stop.clone();
        // A future that is moved into another one takes its room twice, and thousands of connections wait.
        let future = Box::pin(future);
        let tracked = self.inner.tracker.track_future(async move {
            let running = running;
            // Stopped is as good as done: whoever stops the tasks knows it.
            stop.run_until_cancelled(future).await;
            drop(running);
        });
        match &self.inner.runtime {
            Some(runtime) => runtime.spawn(tracked),
            None => tokio::spawn(tracked),
        }
    }

    /// Waits until all tasks have ended; at the deadline it stops them and says who was still busy.
    ///
    /// # Errors
    /// [`Busy`] at the deadline.
    pub async fn join(&self, deadline: Duration) -> Result<(), Busy> {
        self.inner.tracker.close();
        let ended = tokio::time::timeout(deadline, self.inner.tracker.wait()).await;
        if ended.is_ok() {
            return Ok(());
        }
        let busy = Busy { tasks: self.running() };
        self.stop();
        Err(busy)
    }

    /// Drops all tasks at their next await, those spawned later too.
    pub fn stop(&self) {
        self.inner.stop.cancel();
    }

    /// Names and numbers of the tasks that run now.
    pub fn running(&self) -> Vec<(&'static str, usize)> {
        let running = self.inner.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().map(|(name, count)| (*name, *count)).collect()
    }

    /// Waits until a task has panicked and names it. Cancel-safe.
    pub async fn panicked(&self) -> &'static str {
        let mut panicked = self.inner.panicked.subscribe();
        loop {
            if let Some(name) = *panicked.borrow_and_update() {
                return name;
            }
            // Cannot fail: `self` holds the sender.
            drop(panicked.changed().await);
        }
    }
}

impl Default for Tasks {
    fn default() -> Tasks {
        Tasks::new()
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("running", &self.running()).finish_non_exhaustive()
    }
}

impl Busy {
    fn describe(&self) -> String {
        let names: Vec<_> = self.tasks.iter().map(|(name, count)| format!("{name} ({count})")).collect();
        names.join(", ")
    }
}

/// Counts one task for as long as it lives, however it ends.
struct Running {
    inner: Arc<Inner>,
    name: &'static str,
}

impl Running {
    fn enter(inner: &Arc<Inner>, name: &'static str) -> Running {
        let mut running = inner.running.lock().unwrap_or_else(PoisonError::into_inner);
        *running.entry(name).or_insert(0) += 1;
        drop(running);
        Running { inner: Arc::clone(inner), name }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.inner.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                running.remove(self.name);
            }
        }
        drop(running);
        if std::thread::panicking() {
            tracing::error!(task = self.name, "a task panicked");
            self.inner.panicked.send_replace(Some(self.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::sync::oneshot;

    #[tokio::test(start_paused = true)]
    async fn join_waits_for_every_task() {
        let tasks = Tasks::new();
        let (done, is_done) = oneshot::channel();
        tasks.spawn("slow", async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            done.send(()).unwrap();
        });
        tasks.join(Duration::from_secs(5)).await.unwrap();
        is_done.await.unwrap();
        assert!(tasks.running().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn join_names_who_is_still_busy_and_stops_them() {
        let tasks = Tasks::new();
        tasks.spawn("quick", async {});
        tasks.spawn("reaper", pending());
        let stuck = tasks.spawn("slot", pending());
        tasks.spawn("slot", pending());
        let busy = tasks.join(Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(busy.to_string(), "still busy: reaper (1), slot (2)");
        stuck.await.unwrap();
        tasks.join(Duration::from_secs(1)).await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_told_and_the_task_counts_as_ended() {
        let tasks = Tasks::new();
        tasks.spawn("broken", async { panic!("by design") });
        assert_eq!(tasks.panicked().await, "broken");
        tasks.join(Duration::from_secs(5)).await.unwrap();
    }
}
