//! RabbitMQ's HTTP API, as far as tests need it: 20 ms where `rabbitmqctl` costs a second.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use protocol::definitions;
use protocol::key::QueueName;
use protocol::topology::Topology;
use serde_json::{Value, json};
use tokio::time::timeout;

/// `admin` with its development password.
const AUTHORIZATION: &str = "Basic YWRtaW46YWRtaW4tZGV2";
const DEADLINE: Duration = Duration::from_secs(10);

/// A client of one node's HTTP API.
#[derive(Clone, Debug)]
pub struct Management {
    address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Management {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Any request below `/api/`; names in the path must be percent-encoded.
    ///
    /// # Errors
    /// When the node does not answer with success.
    pub async fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, answer) = self.exchange(method.clone(), path, body).await?;
        ensure!(status.is_success(), "{method} /api/{path}: {status} {answer}");
        Ok(answer)
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Value)> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}/api/{path}", self.address))
            .header(header::AUTHORIZATION, AUTHORIZATION)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let answer = async {
            let response = self.client.request(request).await?;
            let status = response.status();
            let bytes = response.into_body().collect().await?.to_bytes();
            anyhow::Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
        };
        timeout(DEADLINE, answer).await.context("the HTTP API did not answer in time")?
    }

    /// Names of the virtual hosts.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn vhosts(&self) -> Result<Vec<String>> {
        let vhosts = self.request(Method::GET, "vhosts?columns=name", None).await?;
        Ok(names(&vhosts))
    }

    /// Names of the nodes of the cluster that run.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn nodes(&self) -> Result<Vec<String>> {
        let mut nodes = self.request(Method::GET, "nodes?columns=name,running", None).await?;
        if let Some(nodes) = nodes.as_array_mut() {
            nodes.retain(|node| node["running"] == true);
        }
        Ok(names(&nodes))
    }

    /// A virtual host with the product's topology for these job queues, and its users with their rights. It isolates a test and costs
    /// about 100 ms.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn make_vhost(&self, name: &str, queues: &[&str]) -> Result<()> {
        self.make_bare_vhost(name).await?;
        self.import_topology(name, queues).await
    }

    /// A virtual host with the product's users and nothing else.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn make_bare_vhost(&self, name: &str) -> Result<()> {
        self.request(Method::PUT, &format!("vhosts/{name}"), None).await?;
        for user in &Topology::new(&[]).users {
            let rights = json!({"configure": user.configure, "write": user.write, "read": user.read});
            self.request(Method::PUT, &format!("permissions/{name}/{}", user.name), Some(&rights)).await?;
        }
        Ok(())
    }

    /// Lets a user declare, write and read everything in a virtual host: for programs that bring their own topology.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn allow_everything(&self, vhost: &str, user: &str) -> Result<()> {
        let rights = json!({"configure": ".*", "write": ".*", "read": ".*"});
        self.request(Method::PUT, &format!("permissions/{vhost}/{user}"), Some(&rights)).await.map(drop)
    }

    /// Makes what is missing of the product's topology.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn import_topology(&self, vhost: &str, queues: &[&str]) -> Result<()> {
        let queues: Vec<QueueName> =
            queues.iter().map(|queue| QueueName::try_from(*queue)).collect::<Result<_, _>>()?;
        let document: Value = serde_json::from_str(&definitions::render_vhost(&Topology::new(&queues)))?;
        self.request(Method::POST, &format!("definitions/{vhost}"), Some(&document)).await.map(drop)
    }

    /// # Errors
    /// When the node refuses.
    pub async fn delete_vhost(&self, name: &str) -> Result<()> {
        self.request(Method::DELETE, &format!("vhosts/{name}"), None).await.map(drop)
    }

    /// Publishes a message as anybody might. `false`: no queue took it.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn publish(&self, vhost: &str, exchange: &str, routing_key: &str, body: &str) -> Result<bool> {
        let message =
            json!({"properties": {}, "routing_key": routing_key, "payload": body, "payload_encoding": "string"});
        let answer =
            self.request(Method::POST, &format!("exchanges/{vhost}/{exchange}/publish"), Some(&message)).await?;
        answer["routed"].as_bool().context("no `routed` in the answer")
    }

    /// Takes up to `count` messages out of a queue: `payload`, `properties` and so on of each.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn take(&self, vhost: &str, queue: &str, count: u32) -> Result<Vec<Value>> {
        let ask = json!({"count": count, "ackmode": "ack_requeue_false", "encoding": "auto"});
        let answer = self.request(Method::POST, &format!("queues/{vhost}/{queue}/get"), Some(&ask)).await?;
        Ok(answer.as_array().cloned().unwrap_or_default())
    }

    /// Takes up to `count` messages out of a queue and gives them back, as a consumer that cannot use them; returns how many.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn give_back(&self, vhost: &str, queue: &str, count: u32) -> Result<usize> {
        let ask = json!({"count": count, "ackmode": "reject_requeue_true", "encoding": "auto"});
        let answer = self.request(Method::POST, &format!("queues/{vhost}/{queue}/get"), Some(&ask)).await?;
        Ok(answer.as_array().map_or(0, Vec::len))
    }

    /// Ready messages by the node's statistics, which lag by some seconds; [`crate::broker::Port::depth`] is exact.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn queue_depth(&self, vhost: &str, queue: &str) -> Result<Option<u64>> {
        let answer = self.request(Method::GET, &format!("queues/{vhost}/{queue}"), None).await?;
        Ok(answer["messages_ready"].as_u64())
    }

    /// # Errors
    /// When the node refuses.
    pub async fn purge_queue(&self, vhost: &str, queue: &str) -> Result<()> {
        self.request(Method::DELETE, &format!("queues/{vhost}/{queue}/contents"), None).await.map(drop)
    }

    /// # Errors
    /// When the node refuses.
    pub async fn delete_queue(&self, vhost: &str, queue: &str) -> Result<()> {
        self.request(Method::DELETE, &format!("queues/{vhost}/{queue}"), None).await.map(drop)
    }

    /// # Errors
    /// When the node refuses.
    pub async fn delete_exchange(&self, vhost: &str, exchange: &str) -> Result<()> {
        self.request(Method::DELETE, &format!("exchanges/{vhost}/{exchange}"), None).await.map(drop)
    }

    /// Sets a policy above the product's own.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn set_policy(&self, vhost: &str, name: &str, pattern: &str, definition: Value) -> Result<()> {
        let policy = json!({"pattern": pattern, "definition": definition, "priority": 100, "apply-to": "queues"});
        self.request(Method::PUT, &format!("policies/{vhost}/{name}"), Some(&policy)).await.map(drop)
    }

    /// # Errors
    /// When the node refuses.
    pub async fn delete_policy(&self, vhost: &str, name: &str) -> Result<()> {
        self.request(Method::DELETE, &format!("policies/{vhost}/{name}"), None).await.map(drop)
    }

    /// The connections of a virtual host, as an operator sees them.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn connections(&self, vhost: &str) -> Result<Vec<String>> {
        let connections = self.request(Method::GET, &format!("vhosts/{vhost}/connections"), None).await?;
        Ok(names(&connections))
    }

    /// Closes every connection of a virtual host, as an operator may; returns how many.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn close_connections(&self, vhost: &str) -> Result<usize> {
        let mut closed = 0;
        for name in self.connections(vhost).await? {
            let name = name.replace(' ', "%20").replace('>', "%3E");
            let (status, answer) = self.exchange(Method::DELETE, &format!("connections/{name}"), None).await?;
            ensure!(status.is_success() || status == StatusCode::NOT_FOUND, "closing {name}: {status} {answer}");
            closed += usize::from(status.is_success());
        }
        Ok(closed)
    }
}

fn names(list: &Value) -> Vec<String> {
    let entries = list.as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().filter_map(|entry| entry["name"].as_str().map(str::to_owned)).collect()
}
