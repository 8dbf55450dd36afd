//! The queue of requests for which no backend has room: bounded in length and time, first come, first served.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Room {
    waiting: AtomicUsize,
    /// Its own list of those who wait has a lock; nobody touches it while there is room.
    freed: Notify,
}

/// A place in the queue, for as long as it lives.
pub(crate) struct Place<'a>(&'a Room);

impl Room {
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// `None` if so many wait already.
    pub(crate) fn queue(&self, most: usize) -> Option<Place<'_>> {
        let place = Place(self);
        (self.waiting.fetch_add(1, Relaxed) < most).then_some(place)
    }

    /// A backend has room for one more.
    pub(crate) fn free(&self) {
        if self.waiting() > 0 {
            self.freed.notify_one();
        }
    }
}

impl Place<'_> {
    /// Waits until `enter` finds room; it is asked first, and again whenever a request has ended.
    pub(crate) async fn until<T>(&self, mut enter: impl FnMut() -> Option<T>) -> T {
        loop {
            let mut freed = std::pin::pin!(self.0.freed.notified());
            // From here on no word is missed.
            freed.as_mut().enable();
            if let Some(entered) = enter() {
                return entered;
            }
            freed.await;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}
