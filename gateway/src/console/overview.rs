//! One snapshot a second of what the console's overview shows, made once for all who watch, and not at all while nobody does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chassis::client::{Answer, Call, Error, Http, StoreClient};
use chassis::clock;
use chassis::config::Address;
use chassis::shutdown::Shutdown;
use chassis::telemetry;
use protocol::api::Workers;
use protocol::etag::entity_tag;
use protocol::ids::Place;
use protocol::queue::{QueueView, Queues};
use protocol::time::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::figures::{Rates, Sample};

const EVERY: Duration = Duration::from_secs(1);
/// Rates are those of this many seconds.
const WINDOW: usize = 10;
/// Who does not answer within this is shown as away.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

type Shown = Option<Arc<str>>;

/// Where snapshots come from. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Overview {
    shown: Arc<watch::Sender<Shown>>,
    begun: Arc<Notify>,
}

/// Whom to ask.
#[derive(Debug)]
pub(crate) struct Sources {
    /// What this gateway is called.
    pub(crate) name: String,
    pub(crate) store: StoreClient,
    /// The balancer's port for operators, if it is known.
    pub(crate) balancer: Option<Address>,
}

/// One who watches. Dropped, it watches no more.
#[derive(Debug)]
pub(super) struct Watcher {
    shown: watch::Receiver<Shown>,
}

impl Watcher {
    /// The next snapshot that it has not seen; `None` when no more are made. Cancel-safe.
    pub(super) async fn next(&mut self) -> Shown {
        loop {
            self.shown.changed().await.ok()?;
            let shown = self.shown.borrow_and_update().clone();
            if shown.is_some() {
                return shown;
            }
        }
    }
}

impl Overview {
    pub(crate) fn new() -> Self {
        Self { shown: Arc::new(watch::Sender::new(None)), begun: Arc::default() }
    }

    pub(super) fn watch(&self) -> Watcher {
        let mut shown = self.shown.subscribe();
        // What others are shown already is shown at once.
        shown.mark_changed();
        self.begun.notify_one();
        Watcher { shown }
    }
}

/// Makes snapshots while somebody watches, until the shutdown begins.
pub(crate) async fn produce(overview: Overview, sources: Sources, shutdown: Shutdown) {
    let producing = async {
        let http = Http::new();
        loop {
            overview.begun.notified().await;
            let mut window = VecDeque::with_capacity(WINDOW + 1);
            let mut every = tokio::time::interval(EVERY);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while overview.shown.receiver_count() > 0 {
                every.tick().await;
                let snapshot = snapshot(&sources, &http, &mut window).await;
                let json = serde_json::to_string(&snapshot).unwrap_or_default();
                overview.shown.send_replace(Some(json.into()));
            }
            // Who comes next is not shown how it was.
            overview.shown.send_replace(None);
        }
    };
    tokio::select! {
        () = producing => {}
        () = shutdown.draining() => {}
    }
}

#[derive(Serialize)]
struct Snapshot<'a> {
    at: Timestamp,
    gateway: &'a str,
    version: &'static str,
    /// Of the process that the gateway is in.
    rates: Rates,
    /// `None`: the store does not answer.
    store: Option<StoreShown>,
    balancer: BalancerShown,
}

#[derive(Serialize)]
struct StoreShown {
    /// Where its log is: when it moves, something has changed.
    place: Option<Place>,
    queues: Vec<QueueView>,
    workers: WorkersShown,
}

#[derive(Serialize)]
struct WorkersShown {
    sessions: usize,
    slots: u64,
    busy: u64,
    /// Changes with whatever `GET /workers` says.
    tag: String,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
enum BalancerShown {
    NotConfigured,
    Away,
    Up { view: Box<RawValue> },
}

async fn snapshot<'a>(sources: &'a Sources, http: &Http, window: &mut VecDeque<(Instant, Sample)>) -> Snapshot<'a> {
    let (store, balancer) = tokio::join!(of_store(&sources.store), of_balancer(http, sources.balancer.as_ref()));
    let store = store.inspect_err(|error| tracing::debug!(%error, "the overview lacks the store")).ok();
    window.push_back((Instant::now(), Sample::of(&telemetry::render_metrics())));
    if window.len() > WINDOW + 1 {
        window.pop_front();
    }
    let rates = match (window.front(), window.back()) {
        (Some((from, older)), Some((to, newer))) => Rates::between(older, newer, to.duration_since(*from)),
        _ => Rates::default(),
    };
    let at = Timestamp::from_unix_ms(clock::wall_ms());
    Snapshot { at, gateway: &sources.name, version: env!("CARGO_PKG_VERSION"), rates, store, balancer }
}

async fn of_store(store: &StoreClient) -> Result<StoreShown, Error> {
    let ask = |path: &str| {
        let call = Call::get(path).within(ANSWERS_WITHIN);
        async move { store.peer().call(&call).await }
    };
    let (queues, workers) = tokio::try_join!(ask("/queues"), ask("/workers"))?;
    let (place, tag) = (queues.place(), entity_tag(&workers.body));
    let (queues, workers): (Answer<Queues>, Answer<Workers>) = (queues.json()?, workers.json()?);
    let workers = workers.body.workers;
    let sum = |of: fn(&protocol::api::WorkerView) -> u64| workers.iter().map(of).sum();
    let (slots, busy) = (sum(|worker| worker.slots), sum(|worker| worker.busy));
    let workers = WorkersShown { sessions: workers.len(), slots, busy, tag };
    Ok(StoreShown { place, queues: queues.body.queues, workers })
}

async fn of_balancer(http: &Http, address: Option<&Address>) -> BalancerShown {
    let Some(address) = address else { return BalancerShown::NotConfigured };
    let answer: Result<Answer<Bytes>, Error> = http.send(address, &Call::get("/backends").within(ANSWERS_WITHIN)).await;
    let view = answer.ok().filter(|answer| answer.status.is_success());
    match view.and_then(|answer| serde_json::from_slice(&answer.body).ok()) {
        Some(view) => BalancerShown::Up { view },
        None => BalancerShown::Away,
    }
}

#[cfg(test)]
mod tests {
    use chassis::config::Addresses;
    use chassis::shutdown::Trigger;
    use chassis::task::Tasks;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_is_made_while_nobody_watches() {
        let (trigger, shutdown) = Trigger::new(Duration::from_secs(1));
        let nobody = Addresses::from(std::net::SocketAddr::from(([127, 0, 0, 1], 9)));
        let sources = Sources { name: "a".to_owned(), store: StoreClient::new(&Http::new(), &nobody), balancer: None };
        let (overview, tasks) = (Overview::new(), Tasks::new());
        tasks.spawn("overview", produce(overview.clone(), sources, shutdown));
        tokio::time::sleep(10 * EVERY).await;
        assert!(overview.shown.borrow().is_none());
        let mut watcher = overview.watch();
        for _ in 0..2 {
            let shown = watcher.next().await.expect("a snapshot");
            assert!(shown.contains(r#""store":null"#), "{shown}");
        }
        drop(watcher);
        tokio::time::sleep(10 * EVERY).await;
        assert!(overview.shown.borrow().is_none(), "who comes next is not shown how it was");
        assert!(overview.watch().next().await.is_some());
        trigger.drain();
        tasks.join(10 * EVERY).await.expect("it ends");
    }
}
