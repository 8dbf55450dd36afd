//! What all threads of one balancer share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwap;
use chassis::health::Health;
use chassis::shutdown::Shutdown;
use http::StatusCode;

use crate::backend::Membership;
use crate::config::Config;

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) health: Health,
    pub(crate) shutdown: Shutdown,
    /// Replaced as a whole by the control thread.
    pub(crate) membership: ArcSwap<Membership>,
    /// The turn of the next request.
    cursor: AtomicUsize,
    pub(crate) counts: Counts,
}

/// What is counted of the balancer itself.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Connections of clients, by loop.
    pub(crate) connections: Vec<AtomicUsize>,
    pub(crate) connections_refused: AtomicU64,
    /// Answers by the first digit of their status; 0 for requests whose client left before.
    pub(crate) answers: [AtomicU64; 6],
}

impl Shared {
    pub(crate) fn new(config: Config, health: Health, shutdown: Shutdown, loops: usize) -> Shared {
        let connections = (0..loops).map(|_| AtomicUsize::new(0)).collect();
        Shared {
            config,
            health,
            shutdown,
            membership: ArcSwap::default(),
            cursor: AtomicUsize::new(0),
            counts: Counts { connections, ..Counts::default() },
        }
    }

    pub(crate) fn next_turn(&self) -> usize {
        self.cursor.fetch_add(1, Relaxed)
    }
}

impl Counts {
    pub(crate) fn answered(&self, status: Option<StatusCode>) {
        let class = status.map_or(0, |status| usize::from(status.as_u16() / 100));
        if let Some(count) = self.answers.get(class) {
            count.fetch_add(1, Relaxed);
        }
    }
}
