//! Pingora's load balancer with the same work as the others: round robin, checks, kept connections, retries, forwarding fields, ids, counters,
//! two threads.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use pingora::http::RequestHeader;
use pingora::lb::LoadBalancer;
use pingora::lb::health_check::HttpHealthCheck;
use pingora::lb::selection::RoundRobin;
use pingora::prelude::{Error, HttpPeer, Result, background_service};
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;

const THREADS: usize = 2;
const TRIES: u32 = 3;
const CHECK_INTERVAL: Duration = Duration::from_millis(250);
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Unused connections to all backends: as many as the others may keep.
const POOL: usize = 3 * 1024;

struct Balancer {
    backends: Arc<LoadBalancer<RoundRobin>>,
    counters: Counters,
    /// What makes ids of this process differ from those of the one before.
    started: u64,
    writes_log: bool,
}

#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    /// By the first digit of the status; 0 is no answer.
    answers: [AtomicU64; 10],
    bytes: AtomicU64,
}

/// One request.
struct Context {
    since: Instant,
    id: String,
    tries: u32,
    backend: String,
}

#[async_trait]
impl ProxyHttp for Balancer {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        let number = self.counters.requests.fetch_add(1, Relaxed);
        Context {
            since: Instant::now(),
            id: format!("{:016x}{number:016x}", self.started),
            tries: 0,
            backend: String::new(),
        }
    }

    async fn upstream_peer(&self, _: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        // The key decides nothing in a round robin.
        let backend = self.backends.select(b"", 16).ok_or_else(|| Error::new_str("no backend is healthy"))?;
        if self.writes_log {
            context.backend = backend.addr.to_string();
        }
        let mut peer = HttpPeer::new(backend, false, String::new());
        peer.options.connection_timeout = Some(CONNECT_WITHIN);
        peer.options.read_timeout = Some(ANSWER_WITHIN);
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        request.insert_header("X-Request-ID", context.id.as_str())?;
        if let Some(client) = session.client_addr().and_then(|address| address.as_inet()) {
            request.append_header("X-Forwarded-For", client.ip().to_string())?;
        }
        Ok(())
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        context: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        context.tries += 1;
        error.set_retry(context.tries < TRIES);
        error
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, context: &mut Context) {
        let status = session.response_written().map_or(0, |answer| answer.status.as_u16());
        let bytes = session.body_bytes_sent();
        if let Some(counter) = self.counters.answers.get(usize::from(status / 100)) {
            counter.fetch_add(1, Relaxed);
        }
        self.counters.bytes.fetch_add(bytes as u64, Relaxed);
        if !self.writes_log {
            return;
        }
        let request = session.req_header();
        let client = session.client_addr().map(ToString::to_string).unwrap_or_default();
        let line = format!(
            "{:.3} {client} \"{} {}\" {status} {bytes} {} {} {:.3}\n",
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
            request.method,
            request.uri,
            context.backend,
            context.id,
            context.since.elapsed().as_secs_f64() * 1e3,
        );
        // A log that cannot be written stops no traffic.
        let _ = std::io::stdout().lock().write_all(line.as_bytes());
    }
}

/// Balances for ever.
pub(crate) fn run(listen: &str, writes_log: bool, addresses: &[String]) -> std::io::Result<()> {
    let settings = ServerConf { threads: THREADS, upstream_keepalive_pool_size: POOL, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, settings);
    server.bootstrap();
    let mut backends = LoadBalancer::<RoundRobin>::try_from_iter(addresses)?;
    let mut check = HttpHealthCheck::new("gateway", false);
    check.req.set_uri(http::Uri::from_static("/ready"));
    check.reuse_connection = true;
    check.consecutive_success = 2;
    check.consecutive_failure = 3;
    backends.set_health_check(Box::new(check));
    backends.health_check_frequency = Some(CHECK_INTERVAL);
    let checks = background_service("checks", backends);
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let balancer = Balancer {
        backends: checks.task(),
        counters: Counters::default(),
        started: started.as_secs() << 20 | u64::from(started.subsec_micros()),
        writes_log,
    };
    let mut proxy = http_proxy_service(&server.configuration, balancer);
    proxy.add_tcp(listen);
    server.add_service(proxy);
    server.add_service(checks);
    server.run_forever()
}
