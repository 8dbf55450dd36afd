//! A balancer under test, on a port of its own.

use std::net::SocketAddr;
use std::time::Duration;

use chassis::config::Source;
use chassis::shutdown::Trigger;
use chassis::task::Tasks;
use chassis::testing::wait_until;
use lb::{Config, Listeners};
use tokio::net::TcpListener;

use crate::client::{Answer, Client};

pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    /// Where clients speak TLS, if the settings have a certificate.
    pub(crate) secured: SocketAddr,
    /// For operators.
    pub(crate) admin: SocketAddr,
    pub(crate) trigger: Trigger,
    pub(crate) tasks: Tasks,
}

impl Balancer {
    /// Starts one with quick checks, and waits until it has looked at every backend.
    pub(crate) async fn start(backends: &[SocketAddr], settings: &[(&str, &str)]) -> Balancer {
        Balancer::start_draining_in(backends, settings, SOON).await
    }

    pub(crate) async fn start_draining_in(
        backends: &[SocketAddr],
        settings: &[(&str, &str)],
        deadline: Duration,
    ) -> Balancer {
        let balancer = Balancer::begin(backends, settings, deadline).await;
        wait_until(SOON, "ready", || async { balancer.get("/ready").await.status == 200 }).await;
        balancer
    }

    /// One that nobody has connected to yet.
    pub(crate) async fn begin(backends: &[SocketAddr], settings: &[(&str, &str)], deadline: Duration) -> Balancer {
        let backends: Vec<_> = backends.iter().map(SocketAddr::to_string).collect();
        let mut source = Source::from_pairs([
            ("LONGSHORE_BACKENDS", backends.join(",")),
            ("LONGSHORE_EVENT_LOOPS", "2".to_owned()),
            ("LONGSHORE_CHECK_INTERVAL_MS", "20".to_owned()),
        ]);
        for (name, value) in settings {
            source = source.with(format!("LONGSHORE_{name}"), *value);
        }
        let config = Config::load(&source).unwrap();
        let (address, listener) = bound().await;
        let (trigger, shutdown) = Trigger::new(deadline);
        let tasks = Tasks::new();
        let [(secured, secured_listener), (admin, admin_listener)] = [bound().await, bound().await];
        let listeners = Listeners {
            plain: listener,
            secured: config.tls_listen.is_some().then_some(secured_listener),
            admin: Some(admin_listener),
        };
        tasks.spawn("lb", async move { lb::run_on(listeners, config, shutdown).await.unwrap() });
        Balancer { address, secured, admin, trigger, tasks }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, request: &str) -> Answer {
        let mut client = self.client().await;
        client.send(request).await;
        client.answer().await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await
    }

    /// What an operator asks.
    pub(crate) async fn operate(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut client = Client::connect(self.admin).await;
        let (host, length) = (self.admin, body.len());
        let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        let fields = format!("host: {host}\r\n{kind}content-length: {length}");
        client.send(format!("{method} {path} HTTP/1.1\r\n{fields}\r\n\r\n{body}")).await;
        client.answer().await
    }

    /// A metric's value.
    pub(crate) async fn metric(&self, name: &str, backend: SocketAddr) -> Option<u64> {
        let metrics = self.get("/metrics").await.text();
        let label = format!("backend=\"{backend}\"");
        let mut lines = metrics.lines().filter(|line| line.starts_with(name) && line.contains(&label));
        lines.next().and_then(|line| line.rsplit_once(' ')).and_then(|(_, value)| value.parse().ok())
    }
}

async fn bound() -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap(), listener)
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.trigger.end();
    }
}
