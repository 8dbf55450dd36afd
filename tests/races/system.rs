//! A store, a cache-svc and gateways in this process, with a gate before the store and one before the cache-svc.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use chassis::broker::{self, Broker, ConnectOptions, EmbeddedBroker, Program, Source as BrokerSource};
use chassis::client::{Answer, Call, Http};
use chassis::config::Source;
use chassis::shutdown::{Shutdown, Trigger};
use chassis::task::Tasks;
use chassis::testing::wait_until;
use http::{HeaderName, HeaderValue, Method};
use protocol::cache_api::TOKEN_HEADER;
use protocol::key::QueueName;
use protocol::topology::Topology;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::SOON;
use crate::gate::Gate;

/// As long as may be: for tests in which no lease is to end.
pub(crate) const LONG_LEASE_MS: u64 = 4_000;
/// As short as may be: for tests that wait until one has ended.
pub(crate) const SHORT_LEASE_MS: u64 = 1_200;
/// Of a key that each store has from the start.
const SEED: &str = "my_data";

pub(crate) struct System {
    /// Before the store, for the cache-svc and the gateways.
    pub(crate) store: Gate,
    /// Before the cache-svc, for the gateways.
    pub(crate) cache: Gate,
    pub(crate) broker: EmbeddedBroker,
    near_lease_ms: u64,
    gateways: Vec<Service>,
    sequencer: Service,
    _store: Service,
    folder: TempDir,
    http: Http,
}

struct Service {
    address: SocketAddr,
    shutdown: Trigger,
    tasks: Tasks,
}

/// One answer, with its body as JSON (null if it has none).
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) body: Value,
    /// Which caches answered, as RFC 9211 says it.
    pub(crate) cache_status: String,
    /// Of a write.
    token: String,
}

impl Service {
    async fn start<F>(name: &'static str, run: impl FnOnce(TcpListener, Shutdown) -> F) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (shutdown, told) = Trigger::new(Duration::from_secs(5));
        let tasks = Tasks::new();
        let serving = run(listener, told);
        tasks.spawn(name, async move { serving.await.expect("it serves") });
        Self { address, shutdown, tasks }
    }

    /// Ends it as SIGTERM does, and waits for it.
    async fn drain(&self) {
        self.shutdown.drain();
        self.tasks.join(SOON).await.expect("it has drained");
    }
}

impl System {
    /// One gateway.
    pub(crate) async fn start() -> Self {
        Self::with(1, LONG_LEASE_MS).await
    }

    /// So many gateways, each with a near lease, and a cache-svc that is sequencer.
    pub(crate) async fn with(gateways: usize, near_lease_ms: u64) -> Self {
        let mut system = Self::without_gateways(near_lease_ms).await;
        for gateway in 0..gateways {
            system.start_gateway().await;
            system.near(gateway, SEED).await;
        }
        system
    }

    pub(crate) async fn without_gateways(near_lease_ms: u64) -> Self {
        let queue = QueueName::try_from("default").expect("a name");
        let broker = EmbeddedBroker::new(&Topology::new(&[queue]));
        let (store, cache) = (Gate::start().await, Gate::start().await);
        let folder = TempDir::new().expect("a folder");
        let source = Source::from_pairs([("DATABASE_URL", format!("sqlite:{}", database(&folder).display()))])
            // Only a test that means it lets the sequencer's own lease end.
            .with("LONGSHORE_SEQUENCER_LEASE_MS", "20000".to_owned());
        let given = BrokerSource::Embedded(broker.clone());
        let config = store_svc::Config::load_with_broker(&source, given).expect("accepted");
        let service = Service::start("store-svc", |listener, told| store_svc::run(listener, config, told)).await;
        store.lead_to(service.address);
        let sequencer = start_sequencer(&broker, &store, near_lease_ms).await;
        let http = Http::new();
        let gateways = Vec::new();
        let system = Self { store, cache, broker, near_lease_ms, gateways, sequencer, _store: service, folder, http };
        system.cache.lead_to(system.sequencer.address);
        system.is_sequencer().await;
        system
    }

    /// Another gateway; its lease may still have to come.
    pub(crate) async fn start_gateway(&mut self) {
        let source = Source::from_pairs([("LONGSHORE_STORE_URL", self.store.address.to_string())])
            .with("LONGSHORE_CACHE_URL", self.cache.address.to_string());
        let given = BrokerSource::Embedded(self.broker.clone());
        let config = gateway::Config::load_with_broker(&source, given).expect("accepted");
        self.gateways.push(Service::start("gateway", |listener, told| gateway::run(listener, config, told)).await);
    }

    /// The cache-svc ends as at SIGTERM, and gives its lease back.
    pub(crate) async fn end_sequencer(&self) {
        self.sequencer.drain().await;
    }

    /// Another cache-svc, which knows nothing of the first, is sequencer.
    pub(crate) async fn replace_sequencer(&mut self) {
        self.sequencer = start_sequencer(&self.broker, &self.store, self.near_lease_ms).await;
        self.cache.lead_to(self.sequencer.address);
        self.is_sequencer().await;
    }

    async fn is_sequencer(&self) {
        let seated = async || self.send(self.sequencer.address, Call::get("/cache/any")).await.status == 200;
        wait_until(SOON, "it is sequencer", seated).await;
    }

    /// Changes a value behind the store's back, as somebody does by SQL.
    pub(crate) fn change(&self, key: &str, value: u64) {
        let database = rusqlite::Connection::open(database(&self.folder)).expect("opened");
        let sql = "INSERT INTO data (tenant, key, version, data) VALUES (0, ?1, 1, ?2) \
                   ON CONFLICT (tenant, key) DO UPDATE SET data = excluded.data";
        database.execute(sql, (key, value.to_string())).expect("written");
    }

    pub(crate) async fn get(&self, gateway: usize, key: &str) -> Told {
        self.send(self.gateways[gateway].address, Call::get(format!("/data/{key}"))).await
    }

    /// The value that a gateway answers.
    pub(crate) async fn data(&self, gateway: usize, key: &str) -> Value {
        let told = self.get(gateway, key).await;
        assert_eq!(told.status, 200, "{told:?}");
        told.body["data"].clone()
    }

    /// Waits until the gateway has a near lease and holds the key under it.
    pub(crate) async fn near(&self, gateway: usize, key: &str) {
        wait_until(SOON, "the near cache holds it", async || self.get(gateway, key).await.is_near()).await;
    }

    /// What a gateway is answered by the cache-svc: the value, and which tier had it.
    pub(crate) async fn shared(&self, key: &str) -> (Value, String) {
        let told = self.send(self.sequencer.address, Call::get(format!("/read/{key}"))).await;
        assert_eq!(told.status, 200, "{told:?}");
        (told.body["data"].clone(), told.body["source"].as_str().expect("a source").to_owned())
    }

    /// Writes through the first gateway; at the return it is acknowledged.
    pub(crate) async fn put(&self, key: &str, value: u64) {
        let told = self.write(key, value).await;
        assert_eq!((told.status, &told.body["fenced"]), (200, &json!(true)), "{told:?}");
    }

    /// Such a write, acknowledged or not; it is not the system's, which may be changed meanwhile.
    pub(crate) fn write(&self, key: &str, value: u64) -> impl Future<Output = Told> + use<> {
        let call = put(format!("/data/{key}"), value);
        let (http, gateway) = (self.http.clone(), self.gateways[0].address);
        async move { send(&http, gateway, call).await }
    }

    /// Writes through the first gateway without waiting for the fence; gives the write's token.
    pub(crate) async fn write_unfenced(&self, key: &str, value: u64) -> String {
        let told = self.send(self.gateways[0].address, put(format!("/data/{key}?wait=0"), value)).await;
        assert_eq!(told.status, 202, "{told:?}");
        told.token
    }

    /// The value that a gateway answers to whoever has this token.
    pub(crate) async fn data_for(&self, gateway: usize, key: &str, token: &str) -> Value {
        let token = HeaderValue::from_str(token).expect("a token");
        let call = Call::get(format!("/data/{key}")).header(HeaderName::from_static(TOKEN_HEADER), token);
        let told = self.send(self.gateways[gateway].address, call).await;
        assert_eq!(told.status, 200, "{told:?}");
        told.body["data"].clone()
    }

    /// Anything else that is posted to the first gateway, and answered 2xx.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let call = Call::new(Method::POST, path, false).json_bytes(Bytes::from(body.to_string()));
        let told = self.send(self.gateways[0].address, call).await;
        assert!((200..300).contains(&told.status), "{told:?}");
        told.body
    }

    /// The status of a job, as the first gateway tells it.
    pub(crate) async fn job_status(&self, job_id: &str) -> String {
        let told = self.send(self.gateways[0].address, Call::get(format!("/jobs/{job_id}"))).await;
        told.body["status"].as_str().expect("a status").to_owned()
    }

    /// Invalidates at the cache-svc; at the return it is acknowledged.
    pub(crate) async fn invalidate(&self, form: Value) -> Told {
        let told = self.ask_to_invalidate("/cache:invalidate", form).await;
        assert_eq!((told.status, &told.body["fenced"]), (200, &json!(true)), "{told:?}");
        told
    }

    /// Invalidates without waiting for the fence.
    pub(crate) async fn invalidate_unfenced(&self, form: Value) {
        let told = self.ask_to_invalidate("/cache:invalidate?wait=0", form).await;
        assert_eq!(told.status, 202, "{told:?}");
    }

    async fn ask_to_invalidate(&self, path: &str, form: Value) -> Told {
        let call = Call::new(Method::POST, path, false).json_bytes(Bytes::from(form.to_string()));
        self.send(self.sequencer.address, call).await
    }

    /// Another client of the broker.
    pub(crate) fn broker_client(&self) -> Broker {
        let options = ConnectOptions::new(Program::Up, Vec::new());
        broker::connect(&BrokerSource::Embedded(self.broker.clone()), options).expect("embedded")
    }

    pub(crate) fn gateway_address(&self, gateway: usize) -> SocketAddr {
        self.gateways[gateway].address
    }

    pub(crate) fn sequencer_address(&self) -> SocketAddr {
        self.sequencer.address
    }

    async fn send(&self, to: SocketAddr, call: Call) -> Told {
        send(&self.http, to, call).await
    }
}

fn put(path: String, value: u64) -> Call {
    Call::new(Method::PUT, path, false).json_bytes(Bytes::from(json!({ "data": value }).to_string()))
}

async fn send(http: &Http, to: SocketAddr, call: Call) -> Told {
    let call = call.within(Duration::from_secs(30));
    let Answer { status, headers, body, .. } = http.send(&to.into(), &call).await.expect("an answer");
    let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().expect("text")).to_owned();
    let (cache_status, token) = (header("cache-status"), header(TOKEN_HEADER));
    Told { status: status.as_u16(), body: serde_json::from_slice(&body).unwrap_or_default(), cache_status, token }
}

impl Told {
    pub(crate) fn is_near(&self) -> bool {
        self.cache_status == "longshore-near; hit"
    }
}

async fn start_sequencer(broker: &EmbeddedBroker, store: &Gate, near_lease_ms: u64) -> Service {
    let source = Source::from_pairs([("LONGSHORE_STORE_URL", store.address.to_string())])
        .with("LONGSHORE_NEAR_LEASE_MS", near_lease_ms.to_string());
    let config = cache_svc::Config::load_with_broker(&source, BrokerSource::Embedded(broker.clone()));
    let config = config.expect("accepted");
    Service::start("cache-svc", |listener, told| cache_svc::run(listener, config, told)).await
}

fn database(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("store.db")
}
