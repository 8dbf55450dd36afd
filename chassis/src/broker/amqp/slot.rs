//! A slot over AMQP, as its holder has it: a desk, where deliveries are put down and taken, and what the holder says is written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::broker::Delivery;
use crate::broker::delivery::{Outcome, Slot};

/// How long a pause may take; later the channel is given up, which has the same effect.
const PAUSE_DEADLINE: Duration = Duration::from_secs(5);

/// What the holder of a slot has said, and the owner of the channel has not yet done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    /// The delivery that is out is done with.
    pub(super) outcome: Option<Outcome>,
    pub(super) pause: bool,
    /// The slot is gone.
    pub(super) gone: bool,
    /// The board names it already.
    is_noted: bool,
}

#[derive(Debug)]
pub(super) struct Desk {
    /// Among all slots of the port.
    pub(super) number: usize,
    /// The one delivery on its way to the holder. The owner of the channel can take it back.
    waiting: Mutex<Option<Delivery>>,
    arrived: Notify,
    said: Mutex<Said>,
    paused: watch::Sender<bool>,
    /// Gone with the port: then nobody listens any more. The board holds the desks that it names.
    board: Weak<Board>,
}

/// Names the desks at which something was said. Each is named once, so it never grows beyond the number of slots.
#[derive(Debug, Default)]
pub(super) struct Board {
    noted: Mutex<Vec<Arc<Desk>>>,
    pub(super) rung: Notify,
}

impl Board {
    /// What was said since the last time, by desk.
    pub(super) fn hear(&self) -> Vec<(Arc<Desk>, Said)> {
        let noted = std::mem::take(&mut *lock(&self.noted));
        noted.into_iter().map(|desk| (Arc::clone(&desk), desk.hear())).collect()
    }
}

impl Desk {
    pub(super) fn put(&self, delivery: Delivery) {
        *lock(&self.waiting) = Some(delivery);
        self.arrived.notify_one();
    }

    pub(super) fn take(&self) -> Option<Delivery> {
        lock(&self.waiting).take()
    }

    /// Says something to the owner of the channel.
    pub(super) fn say(self: &Arc<Self>, word: impl FnOnce(&mut Said)) {
        let mut said = lock(&self.said);
        word(&mut said);
        if !std::mem::replace(&mut said.is_noted, true) {
            drop(said);
            if let Some(board) = self.board.upgrade() {
                lock(&board.noted).push(Arc::clone(self));
                board.rung.notify_one();
            }
        }
    }

    /// The outcome is said once.
    fn hear(&self) -> Said {
        let mut said = lock(&self.said);
        said.is_noted = false;
        let heard = *said;
        said.outcome = None;
        heard
    }

    /// Tells the holder whether the slot is paused.
    pub(super) fn tell_paused(&self, pause: bool) {
        self.paused.send_if_modified(|paused| std::mem::replace(paused, pause) != pause);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The holder's end. Dropping it ends the slot.
pub(super) struct AmqpSlot {
    desk: Arc<Desk>,
    paused: watch::Receiver<bool>,
}

impl AmqpSlot {
    /// A slot with that number; the owner of the channel learns of it from the board.
    pub(super) fn new(number: usize, board: &Arc<Board>) -> Self {
        let (paused, is_paused) = watch::channel(false);
        let desk = Arc::new(Desk {
            number,
            waiting: Mutex::default(),
            arrived: Notify::new(),
            said: Mutex::default(),
            paused,
            board: Arc::downgrade(board),
        });
        desk.say(|_| {});
        Self { desk, paused: is_paused }
    }
}

impl Slot for AmqpSlot {
    fn next(&mut self) -> BoxFuture<'_, Delivery> {
        async {
            loop {
                let arrived = self.desk.arrived.notified();
                if let Some(delivery) = self.desk.take() {
                    return delivery;
                }
                arrived.await;
            }
        }
        .boxed()
    }

    fn pause(&mut self) -> BoxFuture<'_, ()> {
        self.desk.say(|said| said.pause = true);
        async {
            // An owner that has ended delivers nothing either.
            drop(timeout(PAUSE_DEADLINE, self.paused.wait_for(|paused| *paused)).await);
        }
        .boxed()
    }

    fn resume(&mut self) {
        self.desk.say(|said| said.pause = false);
    }
}

impl Drop for AmqpSlot {
    fn drop(&mut self) {
        self.desk.say(|said| said.gone = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_desk_is_named_once_until_it_was_heard() {
        let board = Arc::new(Board::default());
        let slot = AmqpSlot::new(7, &board);
        let heard = || -> Vec<_> { board.hear().iter().map(|(desk, said)| (desk.number, said.outcome)).collect() };
        assert_eq!(heard(), [(7, None)], "it says that it is there");
        slot.desk.say(|said| said.pause = true);
        slot.desk.say(|said| said.outcome = Some(Outcome::Ack));
        assert_eq!(heard(), [(7, Some(Outcome::Ack))]);
        slot.desk.say(|said| said.pause = false);
        assert_eq!(heard(), [(7, None)], "an outcome is told once");
        assert_eq!(heard(), []);
        let desk = Arc::clone(&slot.desk);
        drop(slot);
        assert!(board.hear().iter().all(|(_, said)| said.gone));
        desk.say(|said| said.outcome = Some(Outcome::Dropped));
        assert!(board.hear().iter().all(|(_, said)| said.gone), "it stays gone");
        desk.say(|_| {});
        let board_left = Arc::downgrade(&board);
        drop(board);
        assert!(board_left.upgrade().is_none(), "a desk does not keep its board");
    }
}
