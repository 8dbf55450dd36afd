//! The whole service, on a free port, with the embedded broker, called as other programs call it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chassis::broker::{Delivery, EmbeddedBroker, Port, Source as BrokerSource};
use chassis::client::{Answer as HttpAnswer, Call, Error, Http, StoreClient};
use chassis::config::{Addresses, Source};
use chassis::shutdown::{Shutdown, Trigger};
use protocol::envelope::Bell;
use protocol::ids::{ClaimId, SessionId};
use protocol::store_api::{
    Answer, Applied, Apply, Claim, Claimed, Command, Create, Created, Heartbeat, HeartbeatReply, Reply,
};
use protocol::topology::Topology;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::conformance;

mod dispatch;
mod http;
mod pulling;
pub(crate) mod retries;
mod several;
mod tenants;
#[cfg(feature = "figures")]
mod throughput;
mod walk;

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Store {
    pub(crate) client: StoreClient,
    pub(crate) broker: EmbeddedBroker,
    pub(crate) trigger: Trigger,
    pub(crate) served: JoinHandle<anyhow::Result<()>>,
    pub(crate) folder: Arc<TempDir>,
}

/// A fresh store.
pub(crate) async fn start() -> Store {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    start_in(folder, broker()).await
}

pub(crate) fn broker() -> EmbeddedBroker {
    EmbeddedBroker::new(&Topology::new(&["default".try_into().expect("a queue")]))
}

pub(crate) async fn start_in(folder: Arc<TempDir>, broker: EmbeddedBroker) -> Store {
    let config = config(folder.path(), &broker);
    start_with(config, folder, broker).await
}

/// One of the stores on a PostgreSQL database.
pub(crate) async fn start_at(url: &str, broker: EmbeddedBroker) -> Store {
    let source = Source::from_pairs([("DATABASE_URL", url)]);
    let config = store_svc::Config::load_with_broker(&source, BrokerSource::Embedded(broker.clone()));
    start_with(config.expect("a configuration"), Arc::new(TempDir::new().expect("a folder")), broker).await
}

async fn start_with(config: store_svc::Config, folder: Arc<TempDir>, broker: EmbeddedBroker) -> Store {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (trigger, shutdown): (Trigger, Shutdown) = Trigger::new(Duration::from_secs(5));
    #[expect(clippy::disallowed_methods, reason = "the service under test; the test awaits it")]
    let served = tokio::spawn(store_svc::run(listener, config, shutdown));
    let client = StoreClient::new(&Http::new(), &Addresses::from(address));
    Store { client, broker, trigger, served, folder }
}

pub(crate) fn config(folder: &Path, broker: &EmbeddedBroker) -> store_svc::Config {
    let url = format!("sqlite:{}", folder.join("store.db").display());
    let source = Source::from_pairs([("DATABASE_URL", url)]);
    store_svc::Config::load_with_broker(&source, BrokerSource::Embedded(broker.clone())).expect("a configuration")
}

impl Store {
    pub(crate) async fn call(&self, call: &Call) -> Result<HttpAnswer<bytes::Bytes>, Error> {
        self.client.peer().call(call).await
    }

    pub(crate) async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        self.client.peer().get(path).await.expect(path).body
    }

    pub(crate) async fn apply_all(&self, items: Vec<Command>) -> Vec<Answer> {
        let applied: HttpAnswer<Applied> = self.client.peer().post("/apply", &Apply { items }).await.expect("applied");
        applied.body.items
    }

    pub(crate) async fn apply(&self, command: Command) -> Reply {
        match self.apply_all(vec![command]).await.pop() {
            Some(Answer::Ok(reply)) => *reply,
            other => panic!("refused: {other:?}"),
        }
    }

    pub(crate) async fn create(&self, create: Create) -> Created {
        match self.apply(Command::Create(Box::new(create))).await {
            Reply::Created(created) => created,
            other => panic!("not created: {other:?}"),
        }
    }

    pub(crate) async fn heartbeat(&self, session: SessionId, tasks: &[&str]) -> HeartbeatReply {
        match self.apply(Command::Heartbeat(heartbeat(session, tasks))).await {
            Reply::Heartbeat(reply) => reply,
            other => panic!("no heartbeat: {other:?}"),
        }
    }

    pub(crate) async fn next_bell(&self) -> Bell {
        let mut slot = self.broker.consume("jobs.default");
        let delivery: Delivery = tokio::time::timeout(DEADLINE, slot.next()).await.expect("a bell");
        let bell = Bell::decode(&delivery.body).expect("a bell");
        delivery.ack();
        bell
    }

    pub(crate) async fn claim(&self, session: SessionId, bell: &Bell) -> Result<Claimed, Reply> {
        self.claim_for(session, bell, 15_000).await
    }

    pub(crate) async fn claim_for(&self, session: SessionId, bell: &Bell, lease_ms: u64) -> Result<Claimed, Reply> {
        let claim = Claim {
            session,
            job_id: bell.job_id,
            dispatch: bell.dispatch,
            claim_id: ClaimId::generate(),
            lease_ms,
            or_except: None,
        };
        match self.apply(Command::Claim(claim)).await {
            Reply::Claimed(claimed) => Ok(*claimed),
            other => Err(other),
        }
    }

    pub(crate) async fn stop(self) {
        self.trigger.drain();
        self.served.await.expect("not panicked").expect("ended in order");
    }
}

pub(crate) fn create(task: &str) -> Create {
    Create { max_attempts: 5, fingerprint: "f".to_owned(), ..conformance::create(task) }
}

pub(crate) fn heartbeat(session: SessionId, tasks: &[&str]) -> Heartbeat {
    Heartbeat {
        session,
        register: true,
        worker: "test".to_owned(),
        queues: [("default".try_into().expect("a queue"), 4)].into(),
        tasks: tasks.iter().map(|task| (*task).to_owned().try_into().expect("a pattern")).collect(),
        holds: Vec::new(),
    }
}
