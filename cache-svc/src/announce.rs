//! Announces sequenced invalidations on the fanout exchange. It only makes them fast: what is not announced comes with the renewals.

use chassis::broker::{Broker, Message};
use chassis::shutdown::Shutdown;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use crate::auditor::Sampler;
use crate::seat::Issued;

/// Announcements that wait; beyond it they are dropped.
const WAITING_MAX: usize = 1_024;
/// Announcements on their way.
const UNDER_WAY_MAX: usize = 64;

/// Is told of everything that is issued.
#[derive(Clone, Debug)]
pub(crate) struct Announcer {
    messages: mpsc::Sender<Message>,
    sampler: Sampler,
}

/// An announcer, and what works for it.
pub(crate) fn announcer(broker: Broker, sampler: Sampler, shutdown: Shutdown) -> (Announcer, impl Future<Output = ()>) {
    let (messages, waiting) = mpsc::channel(WAITING_MAX);
    (Announcer { messages, sampler }, publish(waiting, broker, shutdown))
}

impl Announcer {
    pub(crate) fn announce(&self, issued: &Issued) {
        self.sampler.offer(issued);
        if self.messages.try_send(Message::invalidated(&issued.event())).is_err() {
            count("dropped");
        }
    }
}

async fn publish(mut waiting: mpsc::Receiver<Message>, broker: Broker, shutdown: Shutdown) {
    let mut under_way = FuturesUnordered::new();
    let publishing = async {
        loop {
            tokio::select! {
                Some(verdict) = under_way.next() => count(chassis::broker::Verdict::as_str(verdict)),
                message = waiting.recv(), if under_way.len() < UNDER_WAY_MAX => match message {
                    Some(message) => under_way.push(broker.publish(message)),
                    None => return,
                },
            }
        }
    };
    tokio::select! {
        () = publishing => {}
        () = shutdown.draining() => {}
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("longshore_announcements_total", "program" => "cache-svc", "outcome" => outcome).increment(1);
}
