//! A gateway on a free port, with everything a test wants to do to it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use chassis::broker::{EmbeddedBroker, Source as BrokerSource};
use chassis::client::{Answer, Call, Http};
use chassis::config::Source;
use chassis::shutdown::Trigger;
use chassis::task::Tasks;
use http::{HeaderName, HeaderValue, Method};
use protocol::key::QueueName;
use protocol::topology::Topology;
use serde_json::Value;

use crate::scripted::ScriptedStore;

pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) struct TestGateway {
    pub(crate) store: ScriptedStore,
    pub(crate) broker: EmbeddedBroker,
    pub(crate) shutdown: Trigger,
    pub(crate) address: SocketAddr,
    http: Http,
    tasks: Tasks,
}

/// One answer, with its body as JSON (null if it has none).
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) text: String,
    headers: http::HeaderMap,
}

impl TestGateway {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::of(ScriptedStore::start().await, settings).await
    }

    /// Another gateway of the same store.
    pub(crate) async fn beside(other: &Self) -> Self {
        Self::of(other.store.clone(), &[]).await
    }

    async fn of(store: ScriptedStore, settings: &[(&str, &str)]) -> Self {
        let queues = ["default", "reports"].map(|name| QueueName::try_from(name).expect("a name"));
        let broker = EmbeddedBroker::new(&Topology::new(&queues));
        let source = Source::from_pairs(settings.iter().copied())
            .with("LONGSHORE_STORE_URL", store.address.to_string())
            .with("LONGSHORE_QUEUES", "default,reports");
        let given = BrokerSource::Embedded(broker.clone());
        let config = gateway::Config::load_with_broker(&source, given).expect("accepted");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (shutdown, told) = Trigger::new(Duration::from_secs(5));
        let tasks = Tasks::new();
        tasks.spawn("gateway", async move {
            gateway::run(listener, config, told).await.expect("it serves");
        });
        Self { store, broker, shutdown, address, http: Http::new(), tasks }
    }

    pub(crate) async fn send(&self, call: Call) -> Told {
        let call = call.within(Duration::from_secs(40));
        let Answer { status, headers, body, .. } =
            self.http.send(&self.address.into(), &call).await.expect("an answer");
        let text = String::from_utf8_lossy(&body).into_owned();
        Told { status: status.as_u16(), body: serde_json::from_str(&text).unwrap_or_default(), text, headers }
    }

    pub(crate) async fn get(&self, path: &str) -> Told {
        self.send(Call::get(path)).await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&'static str, &str)], body: &str) -> Told {
        self.send(call(Method::POST, path, headers, body)).await
    }

    pub(crate) async fn submit(&self, body: &str) -> Told {
        self.post("/longtask", &[], body).await
    }

    /// Ends the gateway as SIGTERM does, and waits for it.
    pub(crate) async fn drain(&self) {
        self.shutdown.drain();
        self.tasks.join(SOON).await.expect("it has drained");
    }
}

/// A call with a body; `content-type` is JSON unless the headers say otherwise.
pub(crate) fn call(method: Method, path: &str, headers: &[(&'static str, &str)], body: &str) -> Call {
    let mut call = Call::new(method, path, false).json_bytes(Bytes::copy_from_slice(body.as_bytes()));
    for (name, value) in headers {
        call = call.header(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
    }
    call
}

impl Told {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// The last part of the problem's type.
    pub(crate) fn problem(&self) -> &str {
        self.body["type"].as_str().and_then(|kind| kind.rsplit(':').next()).unwrap_or_default()
    }

    pub(crate) fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors.iter().filter_map(|error| error["pointer"].as_str()).collect()
    }
}
