//! The control thread: starts the event loops, accepts, checks the backends, and waits until everything has drained.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chassis::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};

use crate::Listeners;
use crate::acceptor::Acceptor;
use crate::admin;
use crate::config::Config;
use crate::event_loop::{self, Dealt};
use crate::oversight;
use crate::plan::Plan;
use crate::report;
use crate::shared::Shared;
use crate::tls::Certificate;

/// Connections on their way to a loop; it takes them faster than they can be accepted.
const DEALT_MAX: usize = 1_024;

/// Requests of operators that wait to be done.
const COMMANDS_MAX: usize = 16;

const PUBLISH_EVERY: Duration = Duration::from_secs(1);

/// Runs the balancer on this thread and those that it starts; also ends when whoever waits for it is `gone`.
///
/// # Errors
/// When a thread or runtime cannot be started, or an event loop ends by itself.
pub(crate) fn run(
    listeners: Listeners,
    config: Config,
    shutdown: Shutdown,
    gone: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let loops = match config.event_loops {
        0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        count => count,
    };
    let plan = Plan::read(&config).map_err(|error| anyhow::anyhow!(error))?;
    let certificate = Certificate::read(&config).map_err(|error| anyhow::anyhow!(error))?;
    let shared = Arc::new(Shared::new(config, certificate, shutdown, loops));
    let Listeners { plain, secured, admin } = listeners;
    let plain = plain.into_std().context("taking the listener")?;
    let [secured, admin] = [secured, admin].map(|listener| listener.map(TcpListener::into_std).transpose());
    let (secured, admin) = (secured.context("taking the one of TLS")?, admin.context("taking the one of operators")?);
    let runtime = Builder::new_current_thread().enable_all().build().context("starting the control runtime")?;
    runtime.block_on(async {
        let (mut senders, mut ends) = (Vec::new(), Vec::new());
        for number in 0..loops {
            let (sender, dealt) = mpsc::channel(DEALT_MAX);
            senders.push(sender);
            ends.push(start_loop(&shared, number, dealt)?);
        }
        let acceptor = Acceptor::new(Arc::clone(&shared), senders);
        let (operators, commands) = mpsc::channel(COMMANDS_MAX);
        tokio::select! {
            result = balance(acceptor.run(plain, secured), ends) => result,
            () = oversight::run(&shared, plan, commands) => Err(anyhow::anyhow!("the checks ended")),
            result = admin::run(admin, operators, &shared) => result,
            () = publish(&shared) => Ok(()),
            () = gone => Ok(()),
        }
    })
}

/// Keeps the metrics fresh for those who ask another program of this process. Never ends.
async fn publish(shared: &Shared) {
    let mut ticks = tokio::time::interval(PUBLISH_EVERY);
    loop {
        ticks.tick().await;
        report::publish(shared);
    }
}

async fn balance(
    accepting: impl Future<Output = io::Result<()>>,
    ends: Vec<oneshot::Receiver<()>>,
) -> anyhow::Result<()> {
    // An event loop ends only after the acceptor has, which holds the other end of its queue, or at the shutdown's end.
    accepting.await.context("accepting connections")?;
    for end in ends {
        end.await.context("an event loop panicked")?;
    }
    Ok(())
}

fn start_loop(
    shared: &Arc<Shared>,
    number: usize,
    dealt: mpsc::Receiver<Dealt>,
) -> anyhow::Result<oneshot::Receiver<()>> {
    let (sender, end) = oneshot::channel();
    let shared = Arc::clone(shared);
    let body = move || match event_loop::run(shared, number, dealt) {
        // Nobody waits any more if the control thread has ended.
        Ok(()) => drop(sender.send(())),
        Err(error) => tracing::error!(%error, number, "an event loop cannot run"),
    };
    std::thread::Builder::new().name(format!("lb-loop-{number}")).spawn(body).context("starting an event loop")?;
    Ok(end)
}
