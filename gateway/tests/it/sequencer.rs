//! A cache-svc in memory: the product's sequencer core behind its routes, values that a test sets, reads that wait, calls that are refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use chassis::clock;
use chassis::http::{Json, Rejection};
use chassis::task::Tasks;
use chassis::testing::wait_until;
use protocol::cache_api::{
    Deleted, InvalidationAnswer, InvalidationRequest, ReadAnswer, ReadQuery, RenewalAnswer, RenewalRequest, Source,
};
use protocol::envelope::Covered;
use protocol::ids::{Epoch, Incarnation, Place, Position, Seq, Version};
use protocol::inspection::{InspectionAnswer, InspectionRequest, NearView, Question};
use protocol::invalidation::Term;
use protocol::invalidation::sequencer::{Grant, Sequencer, Settings};
use protocol::problem::Kind;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::gateway::SOON;

/// The near lease.
pub(crate) const LEASE_MS: u64 = 800;
/// How long a renewal is held open without news.
const RENEWAL_WAIT: Duration = Duration::from_millis(50);

pub(crate) struct Inner {
    /// Renewals are refused.
    pub(crate) cut_off: bool,
    /// Reads and invalidations are answered `not-sequencer`.
    pub(crate) stands_by: bool,
    /// Reads take the value and then wait.
    pub(crate) slow_reads: bool,
    /// What reads say about where they have it from.
    pub(crate) source: Source,
    /// Where they say that it was read.
    pub(crate) read_at: Option<Place>,
    /// What reads demanded.
    pub(crate) asked: Vec<Option<Place>>,
    /// What the gateway is asked to look at, and what it said.
    question: Option<Question>,
    views: Vec<NearView>,
    /// Reads received.
    pub(crate) reads: usize,
    /// A gateway gave its lease back.
    pub(crate) left: bool,
    core: Sequencer,
    values: BTreeMap<String, String>,
}

/// A handle; clones are the same.
#[derive(Clone)]
pub(crate) struct ScriptedSequencer {
    pub(crate) address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Notify>,
    tasks: Tasks,
}

impl ScriptedSequencer {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let inner = Inner {
            cut_off: false,
            stands_by: false,
            slow_reads: false,
            source: Source::Store,
            read_at: None,
            asked: Vec::new(),
            question: None,
            views: Vec::new(),
            reads: 0,
            left: false,
            core: Sequencer::new(Settings::with_lease(LEASE_MS)),
            values: BTreeMap::new(),
        };
        let sequencer = Self {
            address: listener.local_addr().expect("bound"),
            inner: Arc::new(Mutex::new(inner)),
            changed: Arc::default(),
            tasks: Tasks::new(),
        };
        sequencer.grant(1);
        let router = Router::new()
            .route("/renewals", post(renew))
            .route("/read/{key}", get(read))
            .route("/invalidations", post(invalidate))
            .route("/inspections", post(inspections))
            .with_state(sequencer.clone());
        sequencer.tasks.spawn("scripted sequencer", async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        sequencer
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test broke")
    }

    /// Changes how it behaves; whoever waits looks again.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.inner());
        self.changed.notify_waiters();
    }

    /// The value that reads get from now on.
    pub(crate) fn value(&self, key: &str, json: &str) {
        self.inner().values.insert(key.to_owned(), json.to_owned());
    }

    /// A tenure of this epoch begins.
    pub(crate) fn grant(&self, epoch: u64) {
        let term = Term { incarnation: Incarnation(Uuid::nil()), epoch: Epoch(epoch) };
        let (head, fenced_through) = (Position(0), Position(0));
        let grant = Grant { term, lease_ms: 1_000_000_000, head, fenced_through, predecessor: false };
        let now_ms = clock::now_ms();
        self.set(|inner| inner.core.granted(&grant, now_ms, now_ms));
    }

    /// Sequences an invalidation.
    pub(crate) fn issue(&self, covered: Covered) -> Seq {
        let seq = self.inner().core.issue(clock::now_ms(), covered).expect("it is the sequencer").seq;
        self.changed.notify_waiters();
        seq
    }

    /// Waits until its fence has closed: from here on it counts as acknowledged.
    pub(crate) async fn fenced(&self, seq: Seq) {
        let closed = async || self.inner().core.fenced(clock::now_ms()) >= Some(seq);
        wait_until(SOON, "the fence closes", closed).await;
    }

    /// An acknowledged invalidation of a key that has another value by then.
    pub(crate) async fn invalidate(&self, key: &str, json: &str) {
        self.value(key, json);
        let seq = self.issue(Covered::key(key));
        self.fenced(seq).await;
    }

    /// What the gateway would serve for a key, as it says itself.
    pub(crate) async fn inspect(&self, key: &str) -> NearView {
        let question = Question { id: Uuid::new_v4(), key: key.to_owned() };
        self.set(|inner| (inner.question, inner.views) = (Some(question), Vec::new()));
        self.while_true(|inner| inner.views.is_empty()).await;
        self.inner().views.remove(0)
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
    fn check(&self, refused: bool) -> Result<(), Rejection> {
        if refused { Err(Kind::NotSequencer.into()) } else { Ok(()) }
    }
}

async fn renew(
    State(sequencer): State<ScriptedSequencer>,
    Json(request): Json<RenewalRequest>,
) -> Result<Json<RenewalAnswer>, Rejection> {
    let received_ms = clock::now_ms();
    {
        let mut inner = sequencer.inner();
        inner.check(inner.cut_off)?;
        inner.core.report(&request);
        inner.left |= request.leaving;
    }
    let news = sequencer.while_true(|inner| !inner.core.has_news(&request));
    drop(tokio::time::timeout(RENEWAL_WAIT, news).await);
    let mut inner = sequencer.inner();
    inner.check(inner.cut_off)?;
    Ok(Json(inner.core.answer(&request, received_ms, clock::now_ms()).expect("it is the sequencer")))
}

async fn read(
    State(sequencer): State<ScriptedSequencer>,
    Path(key): Path<String>,
    Query(query): Query<ReadQuery>,
) -> Result<Json<ReadAnswer>, Rejection> {
    let (source, found, mark, read_at) = {
        let mut inner = sequencer.inner();
        inner.check(inner.stands_by)?;
        inner.reads += 1;
        inner.asked.push(query.at_least);
        let mark = inner.core.begin_load(clock::now_ms()).ok();
        (inner.source, inner.values.get(&key).cloned(), mark, inner.read_at)
    };
    sequencer.while_true(|inner| inner.slow_reads).await;
    Ok(Json(ReadAnswer {
        source,
        found: found.is_some(),
        version: found.is_some().then_some(Version(1)),
        data: RawValue::from_string(found.unwrap_or_else(|| "null".to_owned())).expect("JSON"),
        tags: Vec::new(),
        media_type: None,
        read_at,
        mark,
        age_ms: 0,
        ttl_ms: 60_000,
    }))
}

async fn invalidate(
    State(sequencer): State<ScriptedSequencer>,
    Json(request): Json<InvalidationRequest>,
) -> Result<Json<InvalidationAnswer>, Rejection> {
    {
        let inner = sequencer.inner();
        inner.check(inner.stands_by)?;
    }
    let seq = sequencer.issue(request.covered);
    if request.wait {
        sequencer.fenced(seq).await;
    }
    Ok(Json(InvalidationAnswer { status: Deleted::Deleted, seq, fenced: request.wait }))
}

async fn inspections(
    State(sequencer): State<ScriptedSequencer>,
    Json(request): Json<InspectionRequest>,
) -> Json<InspectionAnswer> {
    if !request.answers.is_empty() {
        let views = request.answers.into_iter().map(|answer| answer.view);
        sequencer.set(|inner| {
            inner.views.extend(views);
            inner.question = None;
        });
    }
    let asked = sequencer.while_true(|inner| inner.question.is_none());
    drop(tokio::time::timeout(Duration::from_millis(request.wait_ms), asked).await);
    Json(InspectionAnswer { questions: sequencer.inner().question.clone().into_iter().collect() })
}
