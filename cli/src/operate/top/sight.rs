//! One look at everything that `longshore top` shows.

use std::time::Duration;

use chassis::asking::READY;
use chassis::client::Call;
use protocol::api::{JobPage, WorkerView, Workers};
use protocol::queue::{QueueView, Queues};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::client::{Client, get};
use crate::operate::backends::View;

/// Who is slower is shown as away.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const RUNNING: &str = "/jobs?status=running&limit=100";

/// Whom to ask.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) service: Client,
    /// The balancer's port for operators, if it is known.
    pub(super) admin: Option<Client>,
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) queues: Vec<QueueView>,
    pub(super) workers: Vec<WorkerView>,
    pub(super) running: JobPage,
    /// What the balancer says of itself.
    pub(super) balancer: Value,
    /// `None`: nobody knows where to ask; an error: it does not answer.
    pub(super) backends: Option<Result<View, String>>,
    /// What the gateways say of themselves: what of store, broker and caches they lack.
    pub(super) gateways: Vec<(String, Value)>,
}

impl Places {
    /// # Errors
    /// When the service does not answer.
    pub(super) async fn look(&self) -> anyhow::Result<Sight> {
        let (service, backends) = (&self.service, self.backends());
        let (queues, workers, running, balancer, backends) = tokio::join!(
            ask::<Queues>(service, "/queues"),
            ask::<Workers>(service, "/workers"),
            ask::<JobPage>(service, RUNNING),
            report(service),
            backends,
        );
        let gateways = match &backends {
            Some(Ok(view)) => gateways(view).await,
            _ => Vec::new(),
        };
        Ok(Sight { queues: queues?.queues, workers: workers?.workers, running: running?, balancer, backends, gateways })
    }

    async fn backends(&self) -> Option<Result<View, String>> {
        let admin = self.admin.as_ref()?;
        Some(ask(admin, "/backends").await.map_err(|error| error.to_string()))
    }
}

async fn ask<T: DeserializeOwned>(client: &Client, path: &str) -> anyhow::Result<T> {
    let answer = client.call(&get(path).within(ANSWER_WITHIN)).await?;
    Ok(client.read(&answer.body)?)
}

/// Also of a program that says 503, because it starts or drains.
async fn report(client: &Client) -> Value {
    let answer = client.send(&Call::get(READY).within(ANSWER_WITHIN)).await;
    answer.ok().and_then(|answer| serde_json::from_slice(&answer.body).ok()).unwrap_or_default()
}

async fn gateways(view: &View) -> Vec<(String, Value)> {
    let asked = view.backends.iter().filter_map(|backend| {
        let address = backend.address.parse().ok()?;
        Some(async move { (backend.address.clone(), report(&Client::at(address)).await) })
    });
    futures_util::future::join_all(asked).await
}
