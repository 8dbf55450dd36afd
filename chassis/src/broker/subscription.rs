//! A fanout subscription: messages, and gaps where some may be missing. What waits for a slow reader is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

/// Most messages that wait for a slow reader; beyond it they are dropped and become a gap.
const WAITING_MAX: usize = 1_024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Message(Bytes),
    /// Messages before this point may be missing: at the start, after an outage, and after the reader was too slow.
    Gap,
}

/// The reading end. It never ends by itself.
#[derive(Debug)]
pub struct Subscription {
    messages: mpsc::Receiver<Bytes>,
    gap: Arc<Gap>,
}

#[derive(Debug, Default)]
struct Gap {
    open: AtomicBool,
    opened: Notify,
}

impl Gap {
    fn open(&self) {
        self.open.store(true, Ordering::Release);
        self.opened.notify_one();
    }
}

impl Subscription {
    /// The next event: waits as long as it takes. Safe to cancel.
    pub async fn next(&mut self) -> Event {
        loop {
            if self.gap.open.swap(false, Ordering::AcqRel) {
                return Event::Gap;
            }
            tokio::select! {
                biased;
                () = self.gap.opened.notified() => {}
                message = self.messages.recv() => match message {
                    Some(body) => return Event::Message(body),
                    // The adapter is gone: nothing will come any more.
                    None => std::future::pending::<()>().await,
                },
            }
        }
    }
}

/// The adapter's end.
#[derive(Clone, Debug)]
pub(crate) struct FeedSender {
    messages: mpsc::Sender<Bytes>,
    gap: Arc<Gap>,
}

impl FeedSender {
    /// Hands a message on, or opens a gap when the reader is too slow. `false` when the reader is gone.
    pub(crate) fn message(&self, body: Bytes) -> bool {
        match self.messages.try_send(body) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.gap.open();
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    pub(crate) fn gap(&self) {
        self.gap.open();
    }

    /// Waits until the reader is gone.
    pub(crate) async fn closed(&self) {
        self.messages.closed().await;
    }
}

/// A subscription and the end that feeds it.
pub(crate) fn feed() -> (FeedSender, Subscription) {
    let (sender, messages) = mpsc::channel(WAITING_MAX);
    let gap = Arc::new(Gap::default());
    (FeedSender { messages: sender, gap: gap.clone() }, Subscription { messages, gap })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn slow_reader_gets_a_gap_instead_of_unbounded_memory() {
        let (sender, mut subscription) = feed();
        for _ in 0..=WAITING_MAX {
            assert!(sender.message(Bytes::from_static(b"x")));
        }
        assert_eq!(subscription.next().await, Event::Gap);
        for _ in 0..WAITING_MAX {
            assert_eq!(subscription.next().await, Event::Message(Bytes::from_static(b"x")));
        }
        assert!(sender.message(Bytes::from_static(b"y")));
        assert_eq!(subscription.next().await, Event::Message(Bytes::from_static(b"y")));
    }

    #[tokio::test]
    async fn sender_learns_that_the_reader_is_gone() {
        let (sender, subscription) = feed();
        drop(subscription);
        sender.closed().await;
        assert!(!sender.message(Bytes::new()));
    }
}
