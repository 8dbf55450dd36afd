//! The balancer: one acceptor deals connections to an event loop per core; no lock on the path of a request.
//!
//! `forward` is the way of a request; `core`, `retry` and `fields` decide and touch nothing; `control` starts everything.

mod acceptor;
mod admin;
mod answer;
mod backend;
mod checks;
mod config;
mod connection;
mod control;
mod core;
mod event_loop;
mod fields;
mod forward;
mod members;
mod oversight;
mod own;
mod plan;
mod pool;
mod record;
mod report;
mod retry;
mod room;
mod shared;
mod socket;
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

/// Balances until `shutdown` has drained. The work is done on threads of its own; the calling runtime only waits.
///
/// # Errors
/// When the port of the admin API is taken, or its threads cannot be started.
pub async fn run(listener: TcpListener, config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let admin = match config.admin_listen {
        Some(Listen(address)) => {
            Some(TcpListener::bind(address).await.with_context(|| format!("listening on {address} for operators"))?)
        }
        None => None,
    };
    run_with(listener, admin, config, shutdown).await
}

/// The same with a listener for operators that is there already, or without.
///
/// # Errors
/// When its threads cannot be started.
pub async fn run_with(
    listener: TcpListener,
    admin: Option<TcpListener>,
    config: Config,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let listener = listener.into_std().context("taking the listener")?;
    let admin = admin.map(TcpListener::into_std).transpose().context("taking the listener for operators")?;
    let (mut sender, ended) = oneshot::channel();
    let body = move || {
        let result = control::run(listener, admin, config, shutdown, sender.closed());
        // Fails if nobody waits any more.
        drop(sender.send(result));
    };
    std::thread::Builder::new().name("lb-control".to_owned()).spawn(body).context("starting the control thread")?;
    ended.await.context("the control thread panicked")?
}
