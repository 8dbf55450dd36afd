//! What operators see and do, on a port of its own: a page, and the API behind it.

mod api;
pub(crate) mod view;

use std::time::Duration;

use anyhow::Context;
use chassis::http::{Limits, serve};
use chassis::shutdown::hangups;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::oversight::Command;
use crate::shared::Shared;

/// Operators and what watches in their place.
const CONNECTIONS_MAX: usize = 64;

/// Serves operators until the shutdown; without a listener it only keeps the other end of `commands`. A SIGHUP is heard if there is a file to read
/// again.
///
/// # Errors
/// When signals cannot be heard.
pub(crate) async fn run(
    listener: Option<std::net::TcpListener>,
    commands: mpsc::Sender<Command>,
    shared: &Shared,
) -> anyhow::Result<()> {
    let served = async {
        if let Some(listener) = listener {
            let listener = TcpListener::from_std(listener).context("taking the listener for operators")?;
            let limits = Limits { connections: CONNECTIONS_MAX, drain_notice: Duration::ZERO, ..Limits::default() };
            serve(listener, api::router(commands.clone()), limits, &shared.health, &shared.shutdown).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        result = served => result,
        result = reload_on_hangup(&commands, shared) => result,
    }
}

async fn reload_on_hangup(commands: &mpsc::Sender<Command>, shared: &Shared) -> anyhow::Result<()> {
    if shared.config.backends_file.is_empty() && shared.tls.is_none() {
        return std::future::pending().await;
    }
    let mut hangups = hangups().context("listening for SIGHUP")?;
    loop {
        hangups.recv().await;
        // What is wrong with a file is logged where it is read.
        drop(api::ask(commands, Command::Reload).await);
    }
}
