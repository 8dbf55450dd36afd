//! The balancer: one acceptor deals connections to an event loop per core; no lock on the path of a request.
//!
//! `forward` is the way of a request; `core`, `retry` and `fields` decide and touch nothing; `control` starts everything.

mod acceptor;
mod access_log;
mod admin;
mod answer;
mod backend;
mod checks;
mod clients;
mod config;
mod connection;
mod control;
mod core;
mod event_loop;
mod fields;
mod forward;
mod framing;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod http1;
mod http2;
mod members;
mod oversight;
mod own;
mod plan;
mod pool;
mod rate_limit;
mod record;
mod report;
mod retry;
mod room;
mod shared;
mod socket;
mod tls;
mod traced;
mod tunnel;
mod upload;
mod upstream;
mod watch;

use anyhow::Context;
use chassis::config::Listen;
use chassis::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use config::{Config, DEFAULTS};

/// The ports of a balancer.
#[derive(Debug)]
pub struct Listeners {
    pub plain: TcpListener,
    /// Where clients speak TLS.
    pub secured: Option<TcpListener>,
    /// Of operators.
    pub admin: Option<TcpListener>,
}

impl Listeners {
    /// Listens also where else the settings say.
    ///
    /// # Errors
    /// When such a port is taken.
    pub async fn beside(plain: TcpListener, config: &Config) -> anyhow::Result<Listeners> {
        let secured = listen(config.tls_listen.as_ref(), "TLS").await?;
        let admin = listen(config.admin_listen.as_ref(), "operators").await?;
        Ok(Listeners { plain, secured, admin })
    }
}

/// Balances until `shutdown` has drained. The work is done on threads of its own; the calling runtime only waits.
///
/// # Errors
/// When another port that the settings name is taken, or its threads cannot be started.
pub async fn run(plain: TcpListener, config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    run_on(Listeners::beside(plain, &config).await?, config, shutdown).await
}

async fn listen(address: Option<&Listen>, what: &str) -> anyhow::Result<Option<TcpListener>> {
    let Some(Listen(address)) = address else { return Ok(None) };
    chassis::listen::listen(*address).await.map(Some).with_context(|| format!("listening on {address} for {what}"))
}

/// The same with listeners that are there already.
///
/// # Errors
/// When its threads cannot be started.
pub async fn run_on(listeners: Listeners, config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let (mut sender, ended) = oneshot::channel();
    let body = move || {
        let result = control::run(listeners, config, shutdown, sender.closed());
        // Fails if nobody waits any more.
        drop(sender.send(result));
    };
    std::thread::Builder::new().name("lb-control".to_owned()).spawn(body).context("starting the control thread")?;
    ended.await.context("the control thread panicked")?
}
