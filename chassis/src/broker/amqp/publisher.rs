//! The owner of the publish connection: connects, proves the link with canaries, publishes within the window, connects again. Callers
//! reach it through a bounded queue and get `Busy` while there is no link.

use std::convert::Infallible;
use std::sync::Arc;

use lapin::options::ConfirmSelectOptions;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::connector::{self, Connector};
use super::failure::{Failure, within};
use super::outgoing::Outgoing;
use super::session::{End, Session};
use super::{RPC_DEADLINE, assert, tell};
use crate::backoff::Backoff;
use crate::broker::{ConnectOptions, Link, Verdict, metrics};

const SIDE: &str = "publish";

/// A publish on its way to the owner.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) outgoing: Outgoing,
    pub(super) reply: oneshot::Sender<Verdict>,
}

#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) connector: Connector,
    pub(super) options: Arc<ConnectOptions>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) link: Arc<watch::Sender<Link>>,
    pub(super) closing: CancellationToken,
    /// The last attempt found a part of the topology missing.
    pub(super) was_missing: bool,
}

impl Publisher {
    pub(super) async fn run(mut self) {
        let mut backoff = self.options.pauses();
        let closing = self.closing.clone();
        let program = self.options.program.as_str();
        loop {
            let failure = match self.one_session(&mut backoff).await {
                Ok(()) => return,
                Err(failure) => {
                    self.was_missing = matches!(failure, Failure::Missing(_));
                    failure.to_string()
                }
            };
            metrics::up(program, SIDE, false);
            self.say_down(failure);
            tokio::select! {
                () = closing.cancelled() => return,
                () = tokio::time::sleep(backoff.next_random()) => {}
                refused = refuse_all(&mut self.requests) => match refused {},
            }
        }
    }

    /// `Ok` when the port is closing.
    async fn one_session(&mut self, backoff: &mut Backoff) -> Result<(), Failure> {
        let closing = self.closing.clone();
        let opened = tokio::select! {
            () = closing.cancelled() => return Ok(()),
            opened = open(&self.connector, &self.options, self.was_missing) => opened?,
            refused = refuse_all(&mut self.requests) => match refused {},
        };
        let (connection, channel) = opened;
        metrics::session(self.options.program.as_str(), SIDE);
        let mut session = Session::new(&connection, channel, &self.options, &self.link);
        let end = session.run(&mut self.requests, &closing).await;
        if session.was_up() {
            backoff.reset();
        }
        drop(session);
        connector::close(&connection).await;
        drop(deadpool_lapin::Object::take(connection));
        match end {
            End::Closing => Ok(()),
            End::Failed(failure) => Err(failure),
        }
    }

    /// Says it once, not at each attempt.
    fn say_down(&self, reason: String) {
        let down = Link::Down { reason };
        if *self.link.borrow() != down {
            if let Link::Down { reason } = &down {
                tracing::warn!(program = self.options.program.as_str(), reason, "no link to the broker");
            }
            self.link.send_replace(down);
        }
    }
}

async fn open(
    connector: &Connector,
    options: &ConnectOptions,
    was_missing: bool,
) -> Result<(deadpool_lapin::Object, lapin::Channel), Failure> {
    let connection = connector.connect().await?;
    let opened = async {
        assert::publishing(&connection, options, was_missing).await?;
        let channel = within(RPC_DEADLINE, "opening a channel", connection.create_channel()).await?;
        within(RPC_DEADLINE, "confirm.select", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(channel)
    };
    match opened.await {
        Ok(channel) => Ok((connection, channel)),
        Err(failure) => {
            connector::close(&connection).await;
            drop(deadpool_lapin::Object::take(connection));
            Err(failure)
        }
    }
}

/// Answers whoever asks meanwhile.
async fn refuse_all(requests: &mut mpsc::Receiver<Request>) -> Infallible {
    loop {
        match requests.recv().await {
            Some(request) => tell(request.reply, Verdict::Busy),
            // The port is gone; its closing ends the task.
            None => std::future::pending().await,
        }
    }
}
