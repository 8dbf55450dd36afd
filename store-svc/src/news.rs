//! What sessions are told between heartbeats: leases they lost, jobs that are asked to end, queues that are
//! paused. An accelerator: each heartbeat's answer says
//! the same, so nothing is lost when a feed is dropped.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::ids::SessionId;
use protocol::store_api::News;
use tokio::sync::Notify;

use crate::storage::{Live, NewsItem};

/// News kept for a session that does not ask; older ones are dropped.
const KEPT_MAX: usize = 1_000;

#[derive(Debug, Default)]
pub(crate) struct NewsBoard {
    // Held for one step, never across an await.
    feeds: Mutex<HashMap<SessionId, Feed>>,
}

#[derive(Debug, Default)]
struct Feed {
    /// The number of the last item.
    last: u64,
    items: VecDeque<(u64, NewsItem)>,
    changed: Arc<Notify>,
}

impl NewsBoard {
    fn feeds(&self) -> MutexGuard<'_, HashMap<SessionId, Feed>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn post(&self, session: SessionId, item: NewsItem) {
        let mut feeds = self.feeds();
        let feed = feeds.entry(session).or_default();
        feed.last += 1;
        feed.items.push_back((feed.last, item));
        if feed.items.len() > KEPT_MAX {
            feed.items.pop_front();
        }
        feed.changed.notify_waiters();
    }

    /// Drops the feeds of sessions that have ended.
    pub(crate) fn keep_only(&self, live: &Live) {
        self.feeds().retain(|session, feed| {
            let alive = live.session(*session).is_some();
            if !alive {
                feed.changed.notify_waiters();
            }
            alive
        });
    }

    /// What came after the cursor. A cursor from before our start gets all that is kept.
    pub(crate) fn after(&self, session: SessionId, cursor: u64) -> News {
        self.feeds().entry(session).or_default().after(cursor)
    }

    /// Waits until there is something after the cursor. Cancel-safe.
    pub(crate) async fn wait_after(&self, session: SessionId, cursor: u64) -> News {
        loop {
            let changed = Arc::clone(&self.feeds().entry(session).or_default().changed);
            let mut notified = std::pin::pin!(changed.notified());
            // From here on a post is not missed, so it cannot fall between the look and the wait.
            notified.as_mut().enable();
            let news = self.after(session, cursor);
            if !(news.lost.is_empty() && news.cancelled.is_empty() && news.pauses.is_empty()) {
                return news;
            }
            notified.await;
        }
    }
}

impl Feed {
    fn after(&self, cursor: u64) -> News {
        let cursor = if cursor > self.last { 0 } else { cursor };
        let mut news = News { cursor: self.last, ..News::default() };
        for (number, item) in &self.items {
            match item {
                _ if *number <= cursor => {}
                NewsItem::Lost(lease) => news.lost.push(*lease),
                NewsItem::Cancelled(lease) => news.cancelled.push(*lease),
                NewsItem::Pause(pause) => news.pauses.push(pause.clone()),
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::{Fence, JobId};
    use protocol::store_api::{JobFence, QueuePause};

    #[test]
    fn a_cursor_gets_what_came_after_it() {
        let board = NewsBoard::default();
        let session = SessionId::generate();
        let lease = |fence: u64| JobFence { job_id: JobId::generate(), fence: Fence(fence) };
        board.post(session, NewsItem::Lost(lease(1)));
        board.post(session, NewsItem::Cancelled(lease(2)));
        board.post(session, NewsItem::Pause(QueuePause { queue: "q".to_owned(), paused: true }));
        let check = |cursor: u64, lost: usize, cancelled: usize, pauses: usize| {
            let news = board.after(session, cursor);
            let told = (news.lost.len(), news.cancelled.len(), news.pauses.len());
            assert_eq!((news.cursor, told), (3, (lost, cancelled, pauses)), "after {cursor}");
        };
        check(0, 1, 1, 1);
        check(1, 0, 1, 1);
        check(2, 0, 0, 1);
        check(3, 0, 0, 0);
        check(7, 1, 1, 1);
    }
}
