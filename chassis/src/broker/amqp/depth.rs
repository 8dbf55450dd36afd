//! Asks for the number of ready messages by a passive declare, on a channel of its own.

use std::time::Duration;

use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use tokio::sync::{mpsc, oneshot, watch};

use super::consuming::Shown;
use super::failure::{Failure, within};
use super::{RPC_DEADLINE, tell};

/// An answer later than this is of no use any more.
const DEADLINE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Ask {
    pub(super) queue: String,
    pub(super) reply: oneshot::Sender<Option<u64>>,
}

#[derive(Debug)]
pub(super) struct Depths {
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) sessions: watch::Receiver<Shown>,
}

impl Depths {
    pub(super) async fn run(mut self) {
        let mut channel = None;
        while let Some(Ask { queue, reply }) = self.asks.recv().await {
            let depth = match self.depth(&mut channel, &queue).await {
                Ok(depth) => depth,
                Err(failure) => {
                    // Not found ends the channel, and silence makes it useless.
                    tracing::debug!(queue, %failure, "the depth is unknown");
                    channel = None;
                    None
                }
            };
            tell(reply, depth);
        }
    }

    async fn depth(&self, channel: &mut Option<Channel>, queue: &str) -> Result<Option<u64>, Failure> {
        let Some(connection) = self.sessions.borrow().clone() else { return Ok(None) };
        let open = match channel.take().filter(|channel| channel.status().connected()) {
            Some(open) => open,
            None => within(RPC_DEADLINE, "opening a channel", connection.create_channel()).await?,
        };
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = open.queue_declare(queue.into(), options, FieldTable::default());
        let declared = within(DEADLINE, "asking for a depth", declared).await?;
        *channel = Some(open);
        Ok(Some(declared.message_count().into()))
    }
}
