//! A cache-svc on a free port, and a gateway as the sequencer sees it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use chassis::broker::{self, Broker, ConnectOptions, EmbeddedBroker, Program, Source as BrokerSource};
use chassis::client::{Answer, Call, Http};
use chassis::config::Source;
use chassis::shutdown::Trigger;
use chassis::task::Tasks;
use chassis::testing::wait_until;
use http::Method;
use protocol::cache_api::{RenewalAnswer, RenewalRequest};
use protocol::ids::{HolderId, Seq};
use protocol::invalidation::Term;
use protocol::topology::Topology;
use serde_json::{Value, json};

use crate::store::ScriptedStore;

pub(crate) const SOON: Duration = Duration::from_secs(10);
/// The near lease of these tests, and its margin.
pub(crate) const LEASE: Duration = Duration::from_millis(1_200);
pub(crate) const MARGIN: Duration = Duration::from_millis(24);

pub(crate) struct TestCache {
    pub(crate) broker: EmbeddedBroker,
    pub(crate) shutdown: Trigger,
    address: SocketAddr,
    http: Http,
    tasks: Tasks,
}

/// One answer, with its body as JSON (null if it has none).
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl TestCache {
    /// One that is sequencer.
    pub(crate) async fn seated(store: &ScriptedStore) -> Self {
        let cache = Self::start(store, &[]).await;
        cache.is_sequencer().await;
        cache
    }

    pub(crate) async fn start(store: &ScriptedStore, settings: &[(&str, &str)]) -> Self {
        let broker = EmbeddedBroker::new(&Topology::new(&[]));
        let source = Source::from_pairs(settings.iter().copied())
            .with("LONGSHORE_STORE_URL", store.address.to_string())
            .with("LONGSHORE_NEAR_LEASE_MS", LEASE.as_millis().to_string());
        let given = BrokerSource::Embedded(broker.clone());
        let config = cache_svc::Config::load_with_broker(&source, given).expect("accepted");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (shutdown, told) = Trigger::new(Duration::from_secs(5));
        let tasks = Tasks::new();
        tasks.spawn("cache-svc", async move {
            cache_svc::run(listener, config, told).await.expect("it serves");
        });
        Self { broker, shutdown, address, http: Http::new(), tasks }
    }

    pub(crate) async fn is_sequencer(&self) {
        wait_until(SOON, "it is sequencer", async || self.get("/cache/any").await.status == 200).await;
    }

    pub(crate) async fn stands_by(&self) {
        let refused = async || self.get("/cache/any").await.problem() == "not-sequencer";
        wait_until(SOON, "it stands by", refused).await;
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Told {
        let mut call = Call::new(method, path, false).within(Duration::from_secs(30));
        if let Some(body) = body {
            call = call.json_bytes(Bytes::from(body.to_string()));
        }
        let Answer { status, body, .. } = self.http.send(&self.address.into(), &call).await.expect("an answer");
        Told { status: status.as_u16(), body: serde_json::from_slice(&body).unwrap_or_default() }
    }

    pub(crate) async fn text(&self, path: &str) -> String {
        let answer = self.http.send(&self.address.into(), &Call::get(path)).await.expect("an answer");
        String::from_utf8_lossy(&answer.body).into_owned()
    }

    pub(crate) async fn get(&self, path: &str) -> Told {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Told {
        self.send(Method::DELETE, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Told {
        self.send(Method::POST, path, Some(body)).await
    }

    /// A gateway's read: the value, and where it came from.
    pub(crate) async fn read(&self, key: &str) -> (Value, String) {
        let told = self.get(&format!("/read/{key}")).await;
        assert_eq!(told.status, 200, "{told:?}");
        (told.body["data"].clone(), told.body["source"].as_str().expect("a source").to_owned())
    }

    /// Another client of its broker.
    pub(crate) fn broker_client(&self) -> Broker {
        let options = ConnectOptions::new(Program::Up, Vec::new());
        broker::connect(&BrokerSource::Embedded(self.broker.clone()), options).expect("embedded")
    }

    /// Ends it as SIGTERM does, and waits for it.
    pub(crate) async fn drain(&self) {
        self.shutdown.drain();
        self.tasks.join(SOON).await.expect("it has drained");
    }
}

impl Told {
    /// The last part of the problem's type.
    pub(crate) fn problem(&self) -> &str {
        self.body["type"].as_str().and_then(|kind| kind.rsplit(':').next()).unwrap_or_default()
    }
}

/// A gateway's near lease, as far as the sequencer sees it: it applies whatever it is told, when it renews.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder {
    pub(crate) id: HolderId,
    pub(crate) term: Option<Term>,
    pub(crate) applied: Seq,
}

impl Holder {
    pub(crate) fn new() -> Self {
        Self { id: HolderId::generate(), term: None, applied: Seq(0) }
    }

    /// One that has its lease.
    pub(crate) async fn of(cache: &TestCache) -> Self {
        let mut holder = Self::new();
        assert!(holder.renew(cache, 0).await.flush, "the first answer drops everything");
        holder
    }

    /// Reports, waits for news up to `wait_ms`, applies.
    pub(crate) async fn renew(&mut self, cache: &TestCache, wait_ms: u64) -> RenewalAnswer {
        let told = cache.post("/renewals", self.request(wait_ms)).await;
        assert_eq!(told.status, 200, "{told:?}");
        let answer: RenewalAnswer = serde_json::from_value(told.body).expect("an answer");
        (self.term, self.applied) = (Some(answer.term), answer.through);
        answer
    }

    pub(crate) fn request(&self, wait_ms: u64) -> Value {
        json!(RenewalRequest { holder: self.id, term: self.term, applied: self.applied, wait_ms, leaving: false })
    }

    pub(crate) async fn leave(&self, cache: &TestCache) {
        let mut request = self.request(0);
        request["leaving"] = json!(true);
        assert_eq!(cache.post("/renewals", request).await.status, 200);
    }
}
