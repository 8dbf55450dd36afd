//! A store in memory: data, a log of invalidations, the sequencer's lease by `protocol`'s own rules; away, slow or restored on request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chassis::clock;
use chassis::http::{Json, Rejection};
use chassis::task::Tasks;
use protocol::ids::{Epoch, Incarnation, InstanceId, Place, Position, Version};
use protocol::invalidation::grant::{Acquired, HolderWatch, Holding};
use protocol::key::DataKey;
use protocol::problem::Kind;
use protocol::store_api::{
    Answer, Applied, Apply, Change, Command, DataView, INCARNATION_HEADER, LogEntry, LogPage, POSITION_HEADER, Reply,
    SequencerAnswer, absent,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use uuid::Uuid;

/// How long the log is held open without news.
const LOG_WAIT: Duration = Duration::from_millis(40);

#[derive(Debug)]
pub(crate) struct Inner {
    /// Every call is refused.
    pub(crate) away: bool,
    /// Calls of this one are refused.
    pub(crate) cut_off: Option<InstanceId>,
    /// Loads are received and wait.
    pub(crate) slow_loads: bool,
    /// Posts of fences are received and wait.
    pub(crate) slow_posts: bool,
    pub(crate) lease_ms: u64,
    /// Loads received, by key.
    pub(crate) loads: BTreeMap<String, usize>,
    /// Loads under way, now and at most.
    under_way: usize,
    pub(crate) under_way_max: usize,
    pub(crate) fenced_through: Position,
    pub(crate) posts: usize,
    pub(crate) holding: Holding,
    watch: HolderWatch,
    data: BTreeMap<String, String>,
    tags: BTreeMap<String, Vec<String>>,
    head: Position,
    log: Vec<LogEntry>,
    incarnation: u128,
}

/// A handle on the store; clones are the same.
#[derive(Clone)]
pub(crate) struct ScriptedStore {
    pub(crate) address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Notify>,
    tasks: Tasks,
}

impl ScriptedStore {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let inner = Inner {
            away: false,
            cut_off: None,
            slow_loads: false,
            slow_posts: false,
            lease_ms: 2_000,
            loads: BTreeMap::new(),
            under_way: 0,
            under_way_max: 0,
            fenced_through: Position(0),
            posts: 0,
            holding: Holding::default(),
            watch: HolderWatch::default(),
            data: BTreeMap::new(),
            tags: BTreeMap::new(),
            head: Position(0),
            log: Vec::new(),
            incarnation: 1,
        };
        let store = Self {
            address: listener.local_addr().expect("bound"),
            inner: Arc::new(Mutex::new(inner)),
            changed: Arc::default(),
            tasks: Tasks::new(),
        };
        let router = Router::new()
            .route("/apply", post(apply))
            .route("/log", get(log))
            .route("/data/{key}", get(data))
            .with_state(store.clone());
        store.tasks.spawn("scripted store", async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        store
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test broke")
    }

    /// Changes how it behaves; whoever waits looks again.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.inner());
        self.changed.notify_waiters();
    }

    /// Changes the value behind everybody's back, by SQL, say.
    pub(crate) fn change(&self, key: &str, json: &str) {
        self.inner().data.insert(key.to_owned(), json.to_owned());
    }

    /// What the key is tagged with from now on.
    pub(crate) fn tag(&self, key: &str, tags: &[&str]) {
        let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        self.inner().tags.insert(key.to_owned(), tags);
    }

    /// Where in its history the store is.
    pub(crate) fn place(&self) -> Place {
        let inner = self.inner();
        Place { incarnation: inner.incarnation(), position: inner.head }
    }

    /// A data write, with its entry in the log.
    pub(crate) fn write(&self, key: &str, json: &str) -> Position {
        let position = {
            let mut inner = self.inner();
            inner.data.insert(key.to_owned(), json.to_owned());
            let key = DataKey::try_from(key).expect("a key");
            inner.head = inner.head.next();
            let (position, version) = (inner.head, Version(inner.head.0));
            inner.log.push(LogEntry { position, change: Change::Data { key, version } });
            position
        };
        self.changed.notify_waiters();
        position
    }

    /// A job's change: nothing to fence.
    pub(crate) fn go_on(&self) {
        self.inner().head.0 += 1;
    }

    /// A backup is restored: another history, in which the epochs begin again.
    pub(crate) fn restore(&self) {
        self.set(|inner| {
            inner.incarnation += 1;
            inner.holding = Holding::default();
            inner.log.clear();
            inner.head = Position(0);
            inner.fenced_through = Position(0);
        });
    }

    pub(crate) fn loads(&self, key: &str) -> usize {
        self.inner().loads.get(key).copied().unwrap_or(0)
    }

    async fn while_true(&self, holds: impl Fn(&Inner) -> bool) {
        loop {
            let changed = self.changed.notified();
            if !holds(&self.inner()) {
                return;
            }
            changed.await;
        }
    }
}

impl Inner {
    fn incarnation(&self) -> Incarnation {
        Incarnation(Uuid::from_u128(self.incarnation))
    }

    fn check(&self) -> Result<(), Rejection> {
        if self.away { Err(Kind::Unavailable.into()) } else { Ok(()) }
    }

    fn hears(&self, instance: InstanceId) -> Result<(), Rejection> {
        if self.cut_off == Some(instance) { Err(Kind::Unavailable.into()) } else { self.check() }
    }

    fn acquire(&mut self, instance: InstanceId) -> SequencerAnswer {
        let now_ms = clock::now_ms();
        self.watch.look(now_ms, &self.holding);
        let stood_still = self.watch.stood_still(now_ms, self.lease_ms);
        let answer = match self.holding.acquire(instance, stood_still) {
            Acquired::Held => SequencerAnswer::Held { retry_after_ms: 20 },
            Acquired::Granted { epoch, predecessor } => SequencerAnswer::Granted {
                epoch,
                lease_ms: self.lease_ms,
                head: self.head,
                fenced_through: self.fenced_through,
                predecessor,
            },
        };
        self.watch.look(now_ms, &self.holding);
        answer
    }

    fn apply(&mut self, command: Command) -> Reply {
        match command {
            Command::SequencerAcquire { instance } => Reply::Sequencer(self.acquire(instance)),
            Command::SequencerYield { instance, epoch } => {
                self.holding.give_back(instance, epoch);
                Reply::Done
            }
            Command::Fenced { epoch, through } => {
                self.posts += 1;
                let counts = self.holding.is_present(epoch);
                if counts {
                    self.fenced_through = self.fenced_through.max(through);
                }
                Reply::Fenced { fenced_through: counts.then_some(self.fenced_through) }
            }
            other => unreachable!("a cache-svc does not send {other:?}"),
        }
    }
}

async fn apply(State(store): State<ScriptedStore>, Json(apply): Json<Apply>) -> Result<Json<Applied>, Rejection> {
    store.inner().check()?;
    for command in &apply.items {
        if let Command::SequencerAcquire { instance } = command {
            store.inner().hears(*instance)?;
        }
    }
    if apply.items.iter().any(|command| matches!(command, Command::Fenced { .. })) {
        store.while_true(|inner| inner.slow_posts).await;
    }
    let mut inner = store.inner();
    let items = apply.items.into_iter().map(|command| Answer::Ok(Box::new(inner.apply(command)))).collect();
    Ok(Json(Applied { incarnation: inner.incarnation(), position: inner.head, items }))
}

#[derive(Deserialize)]
struct LogQuery {
    after: Position,
    instance: InstanceId,
    epoch: Epoch,
}

async fn log(State(store): State<ScriptedStore>, Query(query): Query<LogQuery>) -> Result<Json<LogPage>, Rejection> {
    let renewed = {
        let mut inner = store.inner();
        inner.hears(query.instance)?;
        let renewed = inner.holding.renew(query.instance, query.epoch);
        let holding = inner.holding;
        inner.watch.look(clock::now_ms(), &holding);
        renewed
    };
    let news =
        store.while_true(|inner| !inner.away && inner.log.last().is_none_or(|last| last.position <= query.after));
    drop(tokio::time::timeout(LOG_WAIT, news).await);
    let inner = store.inner();
    inner.check()?;
    Ok(Json(LogPage {
        incarnation: inner.incarnation(),
        position: inner.head,
        fenced_through: inner.fenced_through,
        entries: inner.log.iter().filter(|entry| entry.position > query.after).cloned().collect(),
        renewed: Some(renewed),
    }))
}

/// Reads first and answers later: what it brings may be old by then.
async fn data(State(store): State<ScriptedStore>, Path(key): Path<String>) -> Result<Response, Rejection> {
    let read_at = store.place();
    let found = {
        let mut inner = store.inner();
        inner.check()?;
        *inner.loads.entry(key.clone()).or_default() += 1;
        inner.under_way += 1;
        inner.under_way_max = inner.under_way_max.max(inner.under_way);
        let tags = inner.tags.get(&key).cloned().unwrap_or_default();
        inner.data.get(&key).map(|json| (Version(inner.head.0), json.clone(), tags))
    };
    store.while_true(|inner| inner.slow_loads).await;
    store.inner().under_way -= 1;
    let (version, json, tags) = found.ok_or_else(|| absent(read_at))?;
    let data = RawValue::from_string(json).expect("JSON");
    let place =
        [(POSITION_HEADER, read_at.position.to_string()), (INCARNATION_HEADER, read_at.incarnation.to_string())];
    Ok((place, Json(DataView { version, data, tags, media_type: None })).into_response())
}
