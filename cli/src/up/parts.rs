//! The programs as they run: one that ends by itself ends the whole, and a drain goes from the clients' side to the store.

use std::time::Duration;

use anyhow::{Context, anyhow};
use chassis::shutdown::{Shutdown, Trigger};
use chassis::task::Tasks;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;

/// Of the drain's time, what is kept for those that are drained last.
const LAST_SHARE: u32 = 8;
/// The balancer is told first, so that no gateway refuses what it was just sent.
const HEAD_START: Duration = Duration::from_millis(700);
/// What the programs before cache and store get to end at once, and then each of those two. Together less than what a program gets.
const LAST_WORDS: Duration = Duration::from_millis(1_200);
const LAST_MOMENT: Duration = Duration::from_millis(300);

/// Who is drained with whom; in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Balancer,
    /// Gateways and workers: both need the store, and gateways the cache.
    Middle,
    Cache,
    Store,
}

/// A program that has ended: which, and how.
type End = (Stage, &'static str, anyhow::Result<()>);

pub(crate) struct Parts {
    tasks: Tasks,
    triggers: Vec<(Stage, Trigger)>,
    running: FuturesUnordered<BoxFuture<'static, End>>,
    still: Vec<Stage>,
    drain: Duration,
}

impl Parts {
    /// `drain` is what draining may take altogether.
    pub(crate) fn new(drain: Duration) -> Self {
        Self { tasks: Tasks::new(), triggers: Vec::new(), running: FuturesUnordered::new(), still: Vec::new(), drain }
    }

    /// Starts one program.
    pub(crate) fn start<F>(&mut self, stage: Stage, name: &'static str, run: impl FnOnce(Shutdown) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let last = self.drain / LAST_SHARE;
        let deadline = if stage <= Stage::Middle { self.drain - last } else { last / 2 };
        let (trigger, shutdown) = Trigger::new(deadline);
        self.triggers.push((stage, trigger));
        self.still.push(stage);
        let (sender, ended) = oneshot::channel();
        let program = run(shutdown);
        self.tasks.spawn(name, async move {
            // Nobody may be left who wants to know.
            sender.send(program.await).unwrap_or_default();
        });
        let end =
            async move { (stage, name, ended.await.unwrap_or_else(|_| Err(anyhow!("it panicked; see the log")))) };
        self.running.push(Box::pin(end));
    }

    /// Waits until a program has ended although nobody told it to. Cancel-safe.
    pub(crate) async fn first_end(&mut self) -> anyhow::Error {
        let Some((stage, name, result)) = self.running.next().await else { return std::future::pending().await };
        self.forget(stage);
        match result {
            Ok(()) => anyhow!("the {name} ended by itself; see the log"),
            Err(error) => error.context(format!("the {name} ended")),
        }
    }

    /// Drains all, stage by stage. At the deadline of `shutdown` the rest is ended.
    ///
    /// # Errors
    /// The first of a program that did not drain well.
    pub(crate) async fn drain(&mut self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let mut first_error = Ok(());
        tokio::select! {
            () = self.drain_in_order(&mut first_error) => {}
            () = shutdown.ended() => {
                self.end().await;
            }
        }
        first_error
    }

    async fn drain_in_order(&mut self, first_error: &mut anyhow::Result<()>) {
        self.drain_stage(Stage::Balancer);
        // Its last requests may be waiting for gateways that answer only once they drain, too.
        drop(tokio::time::timeout(HEAD_START, self.ended_through(Stage::Balancer, first_error)).await);
        self.drain_stage(Stage::Middle);
        self.ended_through(Stage::Middle, first_error).await;
        for stage in [Stage::Cache, Stage::Store] {
            self.drain_stage(stage);
            self.ended_through(stage, first_error).await;
        }
    }

    /// Ends all at once, but cache and store last: a worker gives back what it holds, so that nobody waits for its leases.
    pub(crate) async fn end(&mut self) {
        let mut ignored = Ok(());
        for (last, within) in [(Stage::Middle, LAST_WORDS), (Stage::Cache, LAST_MOMENT), (Stage::Store, LAST_MOMENT)] {
            for (_, trigger) in self.triggers.iter().filter(|(stage, _)| *stage <= last) {
                trigger.end();
            }
            drop(tokio::time::timeout(within, self.ended_through(last, &mut ignored)).await);
        }
        if let Err(error) = ignored {
            tracing::debug!(error = format!("{error:#}"), "a program did not end well");
        }
        if !self.still.is_empty() {
            tracing::warn!(busy = ?self.tasks.running(), "ended before everything was finished");
        }
        self.tasks.stop();
    }

    fn drain_stage(&self, stage: Stage) {
        for (_, trigger) in self.triggers.iter().filter(|(of, _)| *of == stage) {
            trigger.drain();
        }
    }

    /// Waits until all programs up to this stage have ended. Cancel-safe.
    async fn ended_through(&mut self, stage: Stage, first_error: &mut anyhow::Result<()>) {
        while self.still.iter().any(|still| *still <= stage) {
            let Some((ended, name, result)) = self.running.next().await else { return };
            self.forget(ended);
            if first_error.is_ok() {
                *first_error = result.with_context(|| format!("the {name} did not stop well"));
            }
        }
    }

    fn forget(&mut self, stage: Stage) {
        if let Some(index) = self.still.iter().position(|still| *still == stage) {
            self.still.swap_remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    type Diary = Arc<Mutex<Vec<&'static str>>>;

    /// A program that stops when it is drained, and says when it did.
    fn start(parts: &mut Parts, stage: Stage, name: &'static str, diary: &Diary) {
        let diary = Arc::clone(diary);
        parts.start(stage, name, |shutdown| async move {
            shutdown.draining().await;
            diary.lock().expect("diary").push(name);
            Ok(())
        });
    }

    fn all(diary: &Diary) -> Parts {
        let mut parts = Parts::new(Duration::from_secs(20));
        start(&mut parts, Stage::Store, "store", diary);
        start(&mut parts, Stage::Cache, "cache", diary);
        start(&mut parts, Stage::Middle, "gateway", diary);
        start(&mut parts, Stage::Balancer, "balancer", diary);
        parts
    }

    #[tokio::test(start_paused = true)]
    async fn clients_side_stops_first_and_the_store_last() {
        let diary = Diary::default();
        let (trigger, shutdown) = Trigger::new(Duration::from_secs(20));
        trigger.drain();
        all(&diary).drain(&shutdown).await.expect("drained");
        assert_eq!(*diary.lock().expect("diary"), ["balancer", "gateway", "cache", "store"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_balancer_that_waits_for_its_gateways_does_not_hold_them() {
        let diary = Diary::default();
        let mut parts = Parts::new(Duration::from_secs(20));
        let (gateway_ended, ended) = oneshot::channel::<()>();
        parts.start(Stage::Balancer, "balancer", |_| async move {
            ended.await.unwrap_or_default();
            Ok(())
        });
        parts.start(Stage::Middle, "gateway", |shutdown| async move {
            shutdown.draining().await;
            drop(gateway_ended);
            Ok(())
        });
        start(&mut parts, Stage::Store, "store", &diary);
        let (trigger, shutdown) = Trigger::new(Duration::from_secs(20));
        trigger.drain();
        let begin = tokio::time::Instant::now();
        parts.drain(&shutdown).await.expect("drained");
        assert!(begin.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_dies_is_named_and_the_rest_is_ended() {
        let diary = Diary::default();
        let mut parts = all(&diary);
        parts.start(Stage::Middle, "worker", |_| async { Err(anyhow!("out of luck")) });
        let error = parts.first_end().await;
        assert_eq!(format!("{error:#}"), "the worker ended: out of luck");
        parts.end().await;
        assert_eq!(diary.lock().expect("diary").last(), Some(&"store"));
        parts.start(Stage::Middle, "worker", |_| async { panic!("by design") });
        assert_eq!(format!("{:#}", parts.first_end().await), "the worker ended: it panicked; see the log");
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_what_does_not_drain() {
        let mut parts = Parts::new(Duration::from_secs(20));
        parts.start(Stage::Middle, "worker", |shutdown| async move {
            shutdown.ended().await;
            Ok(())
        });
        let (trigger, shutdown) = Trigger::new(Duration::from_secs(20));
        trigger.end();
        let begin = tokio::time::Instant::now();
        parts.drain(&shutdown).await.expect("ended");
        assert!(begin.elapsed() < Duration::from_secs(1));
    }
}
